-- Which dead letters are still open, where do they lie, and what is wrong with them? By topic and reason; fifty.
-- Empty: no dead letter of this time range is open. That is good news.
CREATE OR REPLACE VIEW driftwheel.letters_open AS
SELECT topic, reason, uniq(id) AS letters, max(at) AS last_at, sum(size_bytes) AS size_bytes, substringUTF8(argMax(detail, at), 1, 300) AS detail
FROM driftwheel.dead_letters
WHERE tenant = {tenant:String} AND at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')}
  AND id NOT IN (SELECT letter_id FROM driftwheel.replays WHERE tenant = {tenant:String})
GROUP BY topic, reason
ORDER BY letters DESC, topic, reason
LIMIT 50
