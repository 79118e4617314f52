-- Notices of the last day that were given up, or that have been tried more than once: of each action how many, and why the last did not land.
SELECT action, count() AS notices, countIf(state = 'failed') AS failed, argMax(detail, decided_at) AS detail
FROM driftwheel.outbox FINAL
WHERE decided_at > now() - INTERVAL 1 DAY AND (state = 'failed' OR (state = 'pending' AND attempts > 1))
GROUP BY action
ORDER BY action
