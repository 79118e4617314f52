-- What feedback needs to know of the inferences that go by these names; of a long session its last 200.
WITH named AS (
    SELECT tenant, name, inference_id
    FROM driftwheel.aliases
    WHERE name IN {names:Array(String)}
    ORDER BY started_at DESC
    LIMIT 200 BY tenant, name
)
SELECT named.name AS name, i.tenant AS tenant, toString(i.id) AS id, i.app AS app, i.environment AS environment, i.model AS model,
       i.prompt_name AS prompt_name, i.prompt_version AS prompt_version, i.session_id AS session_id, i.user_id AS user_id,
       i.started_at AS started_at, i.accepted_at AS accepted_at
FROM driftwheel.inferences AS i
INNER JOIN named ON named.inference_id = i.id AND named.tenant = i.tenant
WHERE i.id IN (SELECT inference_id FROM named)
