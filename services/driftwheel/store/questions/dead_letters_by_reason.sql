-- What could not be used in the last day and was not put back since.
SELECT topic, reason, count() AS letters, argMax(detail, at) AS detail
FROM driftwheel.dead_letters FINAL
WHERE at > now() - INTERVAL 1 DAY AND dead_letters.id NOT IN (SELECT letter_id FROM driftwheel.replays)
GROUP BY topic, reason
ORDER BY letters DESC
