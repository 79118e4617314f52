-- What rules have said that is not over yet, or was over within the last day: the newest revision of each verdict.
SELECT * EXCEPT id, toString(id) AS id
FROM (SELECT * FROM driftwheel.verdicts FINAL WHERE startsWith(detector, 'rule.') ORDER BY revision DESC LIMIT 1 BY verdicts.id)
WHERE resolved_at IS NULL OR resolved_at > now() - INTERVAL 1 DAY
LIMIT 10000
