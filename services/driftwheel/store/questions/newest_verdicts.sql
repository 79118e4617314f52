-- Alarms, newest first, then the quiet series with the most evidence now.
SELECT substring(toString(id), 1, 8) AS id, drifted, signal, segment, round(evidence, 2) AS evidence, level, round(baseline, 4) AS baseline,
       round(current, 4) AS current, sample_size, at, reason
FROM driftwheel.verdicts FINAL
ORDER BY drifted DESC, revision DESC, if(drifted, toFloat64(at), evidence) DESC
LIMIT 1 BY verdicts.id
LIMIT {limit:UInt32}
