-- What feedback needs to know of the inferences with these ids.
SELECT tenant, toString(id) AS id, app, environment, model, prompt_name, prompt_version, session_id, user_id, started_at, accepted_at
FROM driftwheel.inferences
WHERE id IN {ids:Array(String)}
LIMIT 1 BY id
