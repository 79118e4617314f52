-- Which notices did not land at once: to whom, what about, how often was it tried, and what did the receiver say? The hundred newest.
-- Empty: every notice of this time range landed at the first attempt, or there was none.
CREATE OR REPLACE VIEW driftwheel.notices_told AS
SELECT decided_at, state, action, kind, app, attempts, substringUTF8(detail, 1, 300) AS detail, due_at, done_at, subject::String AS subject
FROM driftwheel.outbox FINAL
WHERE tenant = {tenant:String} AND decided_at >= {since:DateTime('UTC')} AND decided_at < {until:DateTime('UTC')}
  AND (attempts > 1 OR done_at IS NULL OR state = 'failed')
ORDER BY decided_at DESC
LIMIT 100
