-- Who was told of an incident, trigger or promotion, and how that went.
SELECT action, kind, state, attempts, detail, formatDateTime(outbox.decided_at, '%F %T') AS decided, formatDateTime(done_at, '%F %T') AS done
FROM driftwheel.outbox FINAL
WHERE subject = toUUID({id:String})
ORDER BY outbox.decided_at
LIMIT 100
