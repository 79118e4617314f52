-- The snoozes that hold now.
SELECT tenant, toString(id) AS id, app, signal, incident_id, reason, at, until
FROM driftwheel.snoozes FINAL
WHERE until > {now:DateTime64(6, 'UTC')}
ORDER BY until
LIMIT 1000
