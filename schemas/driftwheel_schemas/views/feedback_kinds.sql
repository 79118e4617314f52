-- What is said, by whom, and how much of it found its inference? The thirty kinds of which there is most, whatever the app.
-- Empty: no feedback was given in this time range.
CREATE OR REPLACE VIEW driftwheel.feedback_kinds AS
SELECT substringUTF8(name, 1, 80) AS name, source, uniq(id) AS feedback, uniqIf(id, matched) / feedback AS matched_share,
       avgIf(value, isFinite(value)) AS mean_value, countIf(matched AND comment != '') AS comments, countIf(matched AND correction != '') AS corrections, max(at) AS last_at
FROM driftwheel.feedback
WHERE tenant = {tenant:String} AND at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')}
GROUP BY name, source
ORDER BY feedback DESC, name
LIMIT 30
