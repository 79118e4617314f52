-- What is the median and the 95th percentile of a histogram of /metrics, by the labels in `by`? `names` are its buckets; ten parts.
-- Empty: no process added to this histogram in this time range; `driftwheel doctor` tells which run.
CREATE OR REPLACE VIEW driftwheel.histograms AS
SELECT time, part AS name, if(isFinite(low), low, NULL) AS p50_s, if(isFinite(high), high, NULL) AS p95_s
FROM
(
    SELECT time, part, dense_rank() OVER (ORDER BY part) AS place, quantilePrometheusHistogram(0.5)(bound, n) AS low, quantilePrometheusHistogram(0.95)(bound, n) AS high
    FROM
    (
        SELECT time, part, bound, sum(within + if(before IS NULL OR opening < before, 0, opening - before)) AS n
        FROM
        (
            SELECT toStartOfInterval(at, toIntervalSecond({step:UInt32})) AS time, instance, labels, toFloat64OrZero(replaceOne(labels['le'], '+Inf', 'inf')) AS bound,
                   substringUTF8(arrayStringConcat(arrayMap(x -> labels[x], {by:Array(String)}), ' '), 1, 80) AS part,
                   argMin(value, at) AS opening, argMax(value, at) AS closing, max(value) AS highest, min(value) AS lowest,
                   multiIf(highest > closing, highest - opening + closing, lowest < opening, closing, closing - opening) AS within,
                   lagInFrame(toNullable(closing)) OVER (PARTITION BY instance, labels ORDER BY time) AS before
            FROM driftwheel.meters
            WHERE name IN {names:Array(String)} AND at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')}
            GROUP BY time, instance, labels
        )
        GROUP BY time, part, bound
    )
    GROUP BY time, part
)
WHERE place <= 10
ORDER BY time, name
LIMIT 20000
