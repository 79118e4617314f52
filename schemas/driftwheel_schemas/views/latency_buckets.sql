-- How do latencies spread over time? Inferences by how long they took; a column is the upper end of its bucket.
-- Empty: no inference with a latency, of these apps, environments, models and prompt versions, started in this time range.
CREATE OR REPLACE VIEW driftwheel.latency_buckets AS
SELECT toStartOfInterval(started_at, toIntervalSecond({step:UInt32})) AS time,
       countIf(latency_s <= 0.1) AS `0.1 s`, countIf(latency_s > 0.1 AND latency_s <= 0.2) AS `0.2 s`, countIf(latency_s > 0.2 AND latency_s <= 0.5) AS `0.5 s`,
       countIf(latency_s > 0.5 AND latency_s <= 1) AS `1 s`, countIf(latency_s > 1 AND latency_s <= 2) AS `2 s`, countIf(latency_s > 2 AND latency_s <= 5) AS `5 s`,
       countIf(latency_s > 5 AND latency_s <= 10) AS `10 s`, countIf(latency_s > 10 AND latency_s <= 20) AS `20 s`, countIf(latency_s > 20 AND latency_s <= 60) AS `60 s`,
       countIf(latency_s > 60) AS `longer`
FROM driftwheel.inferences
WHERE tenant = {tenant:String} AND started_at >= {since:DateTime('UTC')} AND started_at < {until:DateTime('UTC')}
  AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
  AND (has({environments:Array(String)}, '*') OR environment IN {environments:Array(String)})
  AND (has({models:Array(String)}, '*') OR model IN {models:Array(String)})
  AND (has({versions:Array(String)}, '*') OR prompt_version IN {versions:Array(String)})
  AND latency_s IS NOT NULL
GROUP BY time
ORDER BY time
LIMIT 20000
