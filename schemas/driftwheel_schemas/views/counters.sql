-- How fast do counters of /metrics grow, by the labels in `by`? The ten fastest, of the samples with one of the values in `only`; what grew before a restart and after it is added up.
-- Empty: no process wrote this counter in this time range; `driftwheel doctor` tells which run, and a counter appears with the first event.
CREATE OR REPLACE VIEW driftwheel.counters AS
SELECT time, if(place <= 10, part, 'all others') AS name, sum(c.increase) AS increase, increase / {step:UInt32} AS per_s
FROM
(
    SELECT *, dense_rank() OVER (ORDER BY of_part DESC, part) AS place
    FROM
    (
        SELECT time, part, sum(grown) AS increase, sum(sum(grown)) OVER (PARTITION BY part) AS of_part
        FROM
        (
            SELECT time, labels, substringUTF8(arrayStringConcat(arrayFilter(x -> x != '', arrayMap(x -> labels[x], {by:Array(String)})), ' '), 1, 80) AS part, name,
                   within + multiIf(before IS NULL, if(opened > min(opened) OVER (PARTITION BY instance), opening, 0),
                                    opening < before, opening, opening - before) AS grown
            FROM
            (
                SELECT toStartOfInterval(at, toIntervalSecond({step:UInt32})) AS time, instance, name, labels, min(at) AS opened,
                       argMin(value, at) AS opening, argMax(value, at) AS closing, max(value) AS highest, min(value) AS lowest,
                       multiIf(highest > closing, highest - opening + closing, lowest < opening, closing, closing - opening) AS within,
                       lagInFrame(toNullable(closing)) OVER (PARTITION BY instance, name, labels ORDER BY time) AS before
                FROM driftwheel.meters
                WHERE (name IN {names:Array(String)} OR name IN ('driftwheel_worker_ready', 'driftwheel_collector_in_flight_bytes'))
                  AND at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')}
                GROUP BY time, instance, name, labels
            )
        )
        WHERE name IN {names:Array(String)} AND (has({only:Array(String)}, '*') OR hasAny(mapValues(labels), {only:Array(String)}))
        GROUP BY time, part
    )
) AS c
GROUP BY time, name
ORDER BY time, name
LIMIT 20000
