-- These dead letters with their bytes (base64).
SELECT * EXCEPT id, toString(id) AS id
FROM driftwheel.dead_letters FINAL
WHERE dead_letters.id IN {ids:Array(String)}
