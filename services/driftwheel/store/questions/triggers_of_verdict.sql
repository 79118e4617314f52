-- What policies decided over a verdict.
SELECT substring(toString(id), 1, 8) AS id, policy, job, state, reason
FROM driftwheel.triggers FINAL
WHERE verdict_id = {id:String}
