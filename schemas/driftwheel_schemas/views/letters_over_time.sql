-- How many events became dead letters, and for which reason, over time?
-- Empty: no event became a dead letter in this time range. That is good news.
CREATE OR REPLACE VIEW driftwheel.letters_over_time AS
SELECT toStartOfInterval(at, toIntervalSecond({step:UInt32})) AS time, substringUTF8(reason, 1, 80) AS name, uniq(id) AS letters
FROM driftwheel.dead_letters
WHERE tenant = {tenant:String} AND at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')}
GROUP BY time, name
ORDER BY time, name
LIMIT 20000
