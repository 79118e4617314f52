-- What did the policies decide, over time? Triggers by where they stand now.
-- Empty: no policy decided anything in this time range: no verdict that one looks at (`[[policies]]` in driftwheel.toml).
CREATE OR REPLACE VIEW driftwheel.triggers_over_time AS
SELECT toStartOfInterval(at, toIntervalSecond({step:UInt32})) AS time, countIf(state = 'pending') AS pending, countIf(state = 'approved') AS approved,
       countIf(state = 'held') AS held, countIf(state = 'refused') AS refused
FROM driftwheel.triggers FINAL
WHERE tenant = {tenant:String} AND at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')}
  AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
GROUP BY time
ORDER BY time
LIMIT 20000
