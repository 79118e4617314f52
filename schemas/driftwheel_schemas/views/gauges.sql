-- How do gauges of /metrics stand, by the labels in `by`, over all processes: together, the least and the most of one? The ten highest.
-- Empty: no process wrote this gauge in this time range; `driftwheel doctor` tells which run.
CREATE OR REPLACE VIEW driftwheel.gauges AS
SELECT time, part AS name, total, least, most
FROM
(
    SELECT *, dense_rank() OVER (ORDER BY highest DESC, part) AS place
    FROM
    (
        SELECT time, part, sum(last) AS total, min(last) AS least, max(last) AS most, max(sum(last)) OVER (PARTITION BY part) AS highest
        FROM
        (
            SELECT toStartOfInterval(at, toIntervalSecond({step:UInt32})) AS time, argMax(value, at) AS last,
                   substringUTF8(arrayStringConcat(arrayMap(x -> labels[x], {by:Array(String)}), ' '), 1, 80) AS part
            FROM driftwheel.meters
            WHERE name IN {names:Array(String)} AND at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')} AND isFinite(value)
            GROUP BY time, instance, name, labels
        )
        GROUP BY time, part
    )
)
WHERE place <= 10
ORDER BY time, name
LIMIT 20000
