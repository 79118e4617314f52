-- The openings that one action was told of and that still stand, each as it was told last.
SELECT notice
FROM driftwheel.outbox FINAL
WHERE action = {action:String} AND kind = 'incident.opened' AND state = 'sent'
  AND subject IN (SELECT id FROM driftwheel.incidents FINAL WHERE state = 'open')
ORDER BY decided_at DESC
LIMIT 1 BY subject
LIMIT 1000
