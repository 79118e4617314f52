-- Who was told of an incident, trigger or promotion, and how that went.
SELECT action, kind, state, attempts, detail, decided_at, done_at
FROM driftwheel.outbox FINAL
WHERE subject = toUUID({id:String})
ORDER BY decided_at
LIMIT 100
