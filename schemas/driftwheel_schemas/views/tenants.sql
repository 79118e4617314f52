-- Which tenants are there?
-- Empty: nothing was stored yet.
-- value: What stands between quotes in SQL: no backslash ends it, no $ begins a macro.
CREATE OR REPLACE VIEW driftwheel.tenants AS
SELECT replaceAll(replaceAll(text, '\\', '\\\\'), '$', '\\x24') AS value, text
FROM (SELECT DISTINCT tenant::String AS text FROM driftwheel.inferences)
ORDER BY text = 'default' DESC, text
LIMIT 500
