-- Where a dead letter was put back, newest first, and the letter that came of it if it failed there again.
SELECT r.at AS at, r.topic AS topic, r.partition AS partition, r.offset AS offset, d.letter AS failed_as
FROM (SELECT * FROM driftwheel.replays FINAL WHERE letter_id = {id:String}) AS r
LEFT JOIN (
    SELECT topic, partition, offset, toString(any(id)) AS letter
    FROM driftwheel.dead_letters
    GROUP BY topic, partition, offset
) AS d ON d.topic = r.topic AND d.partition = r.partition AND d.offset = r.offset
ORDER BY at DESC
LIMIT 100
