-- Drifted verdicts by their ids, as they were said last.
SELECT * EXCEPT id, toString(id) AS id
FROM driftwheel.verdicts FINAL
WHERE verdicts.id IN {ids:Array(UUID)} AND drifted
ORDER BY revision DESC
LIMIT 1 BY verdicts.id
