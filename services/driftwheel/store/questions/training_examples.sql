-- What people said of the answers of an app, newest first: the newest value and the newest correction of each inference.
WITH said AS (
    SELECT inference_id, max(at) AS said_at, argMaxIf(value, at, isNotNull(value)) AS said_value, argMaxIf(correction, at, correction != '') AS said_correction
    FROM driftwheel.feedback FINAL
    WHERE matched = 1 AND tenant = {tenant:String} AND app = {app:String} AND accepted_at > now() - toIntervalDay({days:UInt32})
    GROUP BY inference_id
    ORDER BY said_at DESC
    LIMIT {limit:UInt32}
)
SELECT toString(i.id) AS inference_id, p.prompt_text AS prompt, p.response_text AS response, said.said_at AS at, said.said_value AS value,
       said.said_correction AS correction, i.attributes[{group_by:String}] AS `group`, i.model AS model, i.labels['language.code'] AS language,
       i.session_id AS session_id, i.user_id AS user_id, CAST(i.readings['refusal.flag'] > 0, 'Bool') AS refused
FROM driftwheel.inferences AS i
INNER JOIN said ON said.inference_id = toString(i.id)
INNER JOIN driftwheel.payloads AS p ON p.id = i.id
WHERE i.tenant = {tenant:String} AND i.app = {app:String}
ORDER BY at DESC, inference_id
LIMIT 1 BY inference_id
