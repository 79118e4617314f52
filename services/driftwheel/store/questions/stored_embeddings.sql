-- Which inferences of a partition have their vectors, newest first: seeds the ledger of the enrich worker.
SELECT toString(inference_id) AS id, 0 AS digest, accepted_at
FROM driftwheel.embeddings
WHERE accepted_at > now() - INTERVAL 7 DAY AND CRC32(toString(inference_id)) % {partitions:UInt32} = {partition:UInt32}
ORDER BY accepted_at DESC
LIMIT 1 BY inference_id
LIMIT {limit:UInt32}
