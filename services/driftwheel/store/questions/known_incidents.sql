-- The incidents that are open, or that changed in the last weeks: what a verdict may belong to.
SELECT * EXCEPT id, toString(id) AS id
FROM driftwheel.incidents FINAL
WHERE state = 'open' OR changed_at > now() - INTERVAL 30 DAY
ORDER BY changed_at DESC
LIMIT {limit:UInt32}
