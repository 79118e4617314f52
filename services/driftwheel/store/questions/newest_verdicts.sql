-- Alarms, newest first, then the quiet series with the most evidence now.
SELECT substring(toString(id), 1, 8) AS id, drifted, signal, segment, round(evidence, 2) AS evidence, level, round(baseline, 4) AS baseline,
       round(current, 4) AS current, sample_size, at, reason
FROM (SELECT * FROM driftwheel.verdicts FINAL ORDER BY drifted DESC, revision DESC LIMIT 1 BY verdicts.id)
ORDER BY drifted DESC, if(drifted, toFloat64(at), evidence) DESC
LIMIT {limit:UInt32}
