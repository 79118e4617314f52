-- How many dead letters there are of each topic and reason, and how many of them were not put back yet.
SELECT topic, reason, count() AS letters, countIf(dead_letters.id NOT IN (SELECT letter_id FROM driftwheel.replays)) AS open
FROM driftwheel.dead_letters FINAL
WHERE at > now() - toIntervalSecond({since_s:UInt32})
    AND {topic:String} IN ('', topic) AND {reason:String} IN ('', reason)
GROUP BY topic, reason
ORDER BY open DESC, letters DESC, topic, reason
