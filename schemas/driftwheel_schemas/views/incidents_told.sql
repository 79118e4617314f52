-- Which incidents are open, or were opened or resolved in this time range? The hundred most urgent: open ones first, pages first, newest first.
-- Empty: no incident is open, and none was opened or resolved in this time range. That is good news.
CREATE OR REPLACE VIEW driftwheel.incidents_told AS
SELECT state, severity, app, substringUTF8(title, 1, 200) AS title, opened_at, onset,
       greatest(0, dateDiff('second', opened_at, ifNull(resolved_at, toDateTime64({until:DateTime('UTC')}, 6, 'UTC')))) AS open_s,
       substringUTF8(arrayStringConcat(signals, ', '), 1, 200) AS signals, length(segments) AS segments, length(verdicts) AS verdicts,
       substringUTF8(reason, 1, 300) AS reason, substringUTF8(resolution, 1, 300) AS resolution, resolved_at, id::String AS incident
FROM driftwheel.incidents FINAL
WHERE tenant = {tenant:String} AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
  AND (has({states:Array(String)}, '*') OR state IN {states:Array(String)})
  AND (state = 'open' OR (opened_at < {until:DateTime('UTC')} AND resolved_at >= {since:DateTime('UTC')}))
ORDER BY state = 'open' DESC, severity = 'page' DESC, opened_at DESC
LIMIT 100
