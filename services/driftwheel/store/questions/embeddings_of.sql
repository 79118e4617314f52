-- The stored vectors of these inferences.
SELECT toString(inference_id) AS inference_id, role, vec
FROM driftwheel.embeddings
WHERE inference_id IN {ids:Array(String)} AND encoder = {encoder:String}
LIMIT 1 BY inference_id, role
