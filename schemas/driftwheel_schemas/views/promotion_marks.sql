-- When did the gate decide? One mark each; the newest two hundred. The text is escaped: it is drawn as HTML.
-- Empty: the gate decided nothing in this time range.
CREATE OR REPLACE VIEW driftwheel.promotion_marks AS
SELECT toDateTime64(at, 3, 'UTC') AS time, encodeXMLComponent(substringUTF8(concat(app, ': ', decision, ' ', candidate), 1, 200)) AS text, decision::String AS tags, id::String AS id
FROM driftwheel.promotions FINAL
WHERE tenant = {tenant:String} AND at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')}
  AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
ORDER BY at DESC
LIMIT 200
