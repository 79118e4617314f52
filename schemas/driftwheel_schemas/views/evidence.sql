-- How near is each series to its alarm? Evidence minus the level of the alarm (log10 for e-detectors): above 0 a series has drifted. The ten nearest.
-- Empty: no series said anything in this time range; a new series first gathers its reference, and a quiet one speaks at each snapshot.
-- over_level: Evidence minus the level of the alarm (log10 for e-detectors): above 0 a series has drifted.
-- drifting: Whether the newest word of the step says that the series has drifted.
CREATE OR REPLACE VIEW driftwheel.evidence AS
SELECT time, name, over_level, drifting
FROM
(
    SELECT *, dense_rank() OVER (ORDER BY nearest DESC, name) AS place
    FROM
    (
        SELECT toStartOfInterval(at, toIntervalSecond({step:UInt32})) AS time, substringUTF8(concat(signal, ' ', segment), 1, 120) AS name,
               max(evidence - level) AS over_level, toUInt8(argMax(drifted AND resolved_at IS NULL, (v.at, revision))) AS drifting,
               max(max(evidence - level)) OVER (PARTITION BY name) AS nearest
        FROM driftwheel.verdicts AS v
        WHERE tenant = {tenant:String} AND at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')}
          AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
          AND isFinite(evidence) AND isFinite(level)
        GROUP BY time, name
    )
)
WHERE place <= 10
ORDER BY time, name
LIMIT 20000
