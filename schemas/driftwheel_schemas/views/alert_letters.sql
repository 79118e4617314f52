-- For alerts, over every tenant: how many events became dead letters, by topic and reason?
-- Empty: none did.
CREATE OR REPLACE VIEW driftwheel.alert_letters AS
SELECT tenant::String AS tenant, topic::String AS topic, reason::String AS reason, toFloat64(uniq(id)) AS letters
FROM driftwheel.dead_letters
WHERE (has({tenants:Array(String)}, '*') OR tenant IN {tenants:Array(String)}) AND at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')}
GROUP BY tenant, topic, reason
ORDER BY letters DESC
LIMIT 500
