-- Every reading of every inference, inline and late, one row each.
CREATE OR REPLACE VIEW driftwheel.readings AS
SELECT tenant, id AS inference_id, app, model, prompt_name, prompt_version, started_at, accepted_at, reading.1 AS signal, reading.2 AS value
FROM driftwheel.inferences FINAL
ARRAY JOIN CAST(readings, 'Array(Tuple(String, Float32))') AS reading
UNION ALL
SELECT tenant, inference_id, app, model, prompt_name, prompt_version, started_at, accepted_at, signal, value
FROM driftwheel.late_readings FINAL
