-- For alerts, over every tenant: how many notices were given up, or are overdue by ten minutes, by action?
-- Empty: every notice landed.
CREATE OR REPLACE VIEW driftwheel.alert_notices AS
SELECT tenant::String AS tenant, action::String AS action, toFloat64(count()) AS notices
FROM driftwheel.outbox FINAL
WHERE (has({tenants:Array(String)}, '*') OR tenant IN {tenants:Array(String)}) AND decided_at >= {since:DateTime('UTC')} AND decided_at < {until:DateTime('UTC')}
  AND (state = 'failed' OR (done_at IS NULL AND due_at < {until:DateTime('UTC')} - INTERVAL 10 MINUTE))
GROUP BY tenant, action
ORDER BY notices DESC
LIMIT 500
