-- How many incidents were opened and resolved, over time?
-- Empty: no incident was opened or resolved in this time range. That is good news.
CREATE OR REPLACE VIEW driftwheel.incidents_over_time AS
SELECT time, countIf(what = 'opened' AND severity = 'page') AS opened_pages, countIf(what = 'opened' AND severity != 'page') AS opened_tickets, countIf(what = 'resolved') AS resolved
FROM
(
    SELECT toStartOfInterval(event.2, toIntervalSecond({step:UInt32})) AS time, event.1 AS what, severity
    FROM driftwheel.incidents FINAL
    ARRAY JOIN [('opened', toNullable(opened_at)), ('resolved', resolved_at)] AS event
    WHERE tenant = {tenant:String} AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
      AND event.2 >= {since:DateTime('UTC')} AND event.2 < {until:DateTime('UTC')}
)
GROUP BY time
ORDER BY time
LIMIT 20000
