-- The incidents whose id begins so, as they stand.
SELECT * EXCEPT id, toString(id) AS id
FROM driftwheel.incidents FINAL
WHERE startsWith(toString(incidents.id), {id:String})
LIMIT 2
