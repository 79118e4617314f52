-- Triggers, newest first; held ones too, with their reasons.
SELECT substring(toString(id), 1, 8) AS id, app, policy, job, state, signal, reason, at
FROM driftwheel.triggers FINAL
ORDER BY accepted_at DESC, state
LIMIT {limit:UInt32}
