-- What was to be told to people and systems, and where do these notices stand now, over time?
-- Empty: nothing was to be told in this time range, or no action is configured (`[[actions]]` in driftwheel.toml).
CREATE OR REPLACE VIEW driftwheel.notices_over_time AS
SELECT toStartOfInterval(decided_at, toIntervalSecond({step:UInt32})) AS time, state::String AS name, count() AS notices
FROM driftwheel.outbox FINAL
WHERE tenant = {tenant:String} AND decided_at >= {since:DateTime('UTC')} AND decided_at < {until:DateTime('UTC')}
GROUP BY time, name
ORDER BY time, name
LIMIT 20000
