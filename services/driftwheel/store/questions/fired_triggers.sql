-- The newest triggers that started something or wait for a person: what cool-downs and budgets count.
SELECT toString(id) AS id, revision, policy, tenant, app, accepted_at
FROM driftwheel.triggers FINAL
WHERE state IN ('pending', 'approved', 'refused')
ORDER BY accepted_at DESC
LIMIT {limit:UInt32}
