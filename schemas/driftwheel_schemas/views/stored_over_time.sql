-- How much was stored, and how long after it started was it accepted, over time?
-- Empty: no inference of this tenant started in this time range.
CREATE OR REPLACE VIEW driftwheel.stored_over_time AS
SELECT time, stored, stored / {step:UInt32} AS stored_per_s, delay[1] AS accepted_p50_s, delay[2] AS accepted_p95_s
FROM
(
    SELECT toStartOfInterval(started_at, toIntervalSecond({step:UInt32})) AS time, count() AS stored,
           arrayMap(x -> if(isFinite(x), x, NULL), quantilesTDigest(0.5, 0.95)(dateDiff('millisecond', started_at, accepted_at) / 1000)) AS delay
    FROM driftwheel.inferences
    WHERE tenant = {tenant:String} AND started_at >= {since:DateTime('UTC')} AND started_at < {until:DateTime('UTC')}
    GROUP BY time
)
ORDER BY time
LIMIT 20000
