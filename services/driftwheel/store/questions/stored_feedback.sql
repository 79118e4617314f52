-- What is stored of a partition, newest first: seeds the ledger of the feedback worker.
SELECT toString(id) AS id, digest, matched, accepted_at
FROM driftwheel.feedback FINAL
WHERE accepted_at > now() - INTERVAL 7 DAY AND CRC32(toString(id)) % {partitions:UInt32} = {partition:UInt32}
ORDER BY accepted_at DESC
LIMIT {limit:UInt32}
