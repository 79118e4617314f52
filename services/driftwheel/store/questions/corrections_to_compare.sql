-- Matched feedback with a correction whose likeness to the answer has not been measured, oldest first.
SELECT toString(f.id) AS id, f.inference_id AS inference_id, f.tenant AS tenant, i.app AS app, i.model AS model, i.prompt_name AS prompt_name,
       i.prompt_version AS prompt_version, i.session_id AS session_id, i.user_id AS user_id, p.response_text AS response, f.correction AS correction,
       i.started_at AS started_at, f.accepted_at AS accepted_at
FROM driftwheel.feedback AS f FINAL
INNER JOIN driftwheel.inferences AS i ON toString(i.id) = f.inference_id AND i.tenant = f.tenant
INNER JOIN driftwheel.payloads AS p ON p.id = i.id
LEFT ANTI JOIN (
    SELECT toString(inference_id) AS inference_id
    FROM driftwheel.late_readings
    WHERE signal = 'similarity.correction.cosine' AND accepted_at > now() - INTERVAL 3 DAY
) AS done ON done.inference_id = f.inference_id
WHERE f.matched = 1 AND trim(f.correction) != '' AND f.accepted_at > now() - INTERVAL 3 DAY AND trim(p.response_text) != ''
ORDER BY f.accepted_at, id
LIMIT 1 BY inference_id
LIMIT {limit:UInt32}
