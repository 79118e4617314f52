-- What could not be used in the last day.
SELECT topic, reason, count() AS letters, argMax(detail, at) AS detail
FROM driftwheel.dead_letters FINAL
WHERE at > now() - INTERVAL 1 DAY
GROUP BY topic, reason
ORDER BY letters DESC
