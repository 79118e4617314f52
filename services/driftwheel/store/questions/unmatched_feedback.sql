-- Feedback that still waits for its inference, newest first, as far back as the horizon of the feedback worker.
SELECT *
FROM driftwheel.feedback FINAL
WHERE matched = 0 AND accepted_at > now() - toIntervalSecond({horizon_s:UInt32}) AND CRC32(toString(id)) % {partitions:UInt32} = {partition:UInt32}
ORDER BY accepted_at DESC
LIMIT {limit:UInt32}
