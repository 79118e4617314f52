-- Which tenants are there?
-- Empty: nothing was stored yet.
CREATE OR REPLACE VIEW driftwheel.tenants AS
SELECT DISTINCT tenant::String AS value
FROM driftwheel.inferences
ORDER BY value = 'default' DESC, value
LIMIT 500
