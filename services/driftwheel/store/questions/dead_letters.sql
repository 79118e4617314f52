-- Dead letters without their bytes, newest first: why, when each was put back last, and which letter's replay each is.
SELECT toString(d.id) AS id, d.tenant AS tenant, d.at AS at, d.topic AS topic, d.partition AS partition, d.offset AS offset, d.`index` AS `index`,
       d.reason AS reason, d.detail AS detail, d.event_id AS event_id, d.size_bytes AS size_bytes, d.sha256 AS sha256,
       if(back.times > 0, back.at, NULL) AS replayed_at, of.letter AS replay_of
FROM (
    SELECT * EXCEPT payload
    FROM driftwheel.dead_letters FINAL
    WHERE at > now() - toIntervalSecond({since_s:UInt32}) AND startsWith(toString(dead_letters.id), {id:String})
        AND {topic:String} IN ('', topic) AND {reason:String} IN ('', reason)
        AND ({open:UInt8} = 0 OR dead_letters.id NOT IN (SELECT letter_id FROM driftwheel.replays))
) AS d
LEFT JOIN (SELECT letter_id, count() AS times, max(at) AS at FROM driftwheel.replays GROUP BY letter_id) AS back ON back.letter_id = d.id
LEFT JOIN (
    SELECT topic, partition, offset, toString(any(letter_id)) AS letter
    FROM driftwheel.replays
    GROUP BY topic, partition, offset
) AS of ON of.topic = d.topic AND of.partition = d.partition AND of.offset = d.offset
ORDER BY at DESC, topic, partition, offset DESC, `index` DESC, id
LIMIT {limit:UInt32}
