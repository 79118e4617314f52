-- Feedback that still waits for its inference, newest first; 72 hours is the default horizon of the feedback worker.
SELECT *
FROM driftwheel.feedback FINAL
WHERE matched = 0 AND accepted_at > now() - INTERVAL 72 HOUR AND CRC32(toString(id)) % {partitions:UInt32} = {partition:UInt32}
ORDER BY accepted_at DESC
LIMIT {limit:UInt32}
