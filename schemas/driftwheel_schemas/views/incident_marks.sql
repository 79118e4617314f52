-- When was an incident open? One mark each, from its onset (else its opening) to its end; the newest two hundred. The text is escaped: it is drawn as HTML.
-- Empty: no incident touches this time range.
CREATE OR REPLACE VIEW driftwheel.incident_marks AS
SELECT toDateTime64(ifNull(onset, opened_at), 3, 'UTC') AS time, toDateTime64(ifNull(resolved_at, {until:DateTime('UTC')}), 3, 'UTC') AS timeEnd,
       encodeXMLComponent(substringUTF8(title, 1, 200)) AS text, concat(severity, ',', state) AS tags, id::String AS id
FROM driftwheel.incidents FINAL
WHERE tenant = {tenant:String} AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
  AND ifNull(onset, opened_at) < {until:DateTime('UTC')} AND (resolved_at IS NULL OR resolved_at >= {since:DateTime('UTC')})
ORDER BY opened_at DESC
LIMIT 200
