-- One verdict as it stands, by the beginning of its id.
SELECT * EXCEPT id, toString(id) AS id
FROM driftwheel.verdicts FINAL
WHERE startsWith(toString(verdicts.id), {id:String})
ORDER BY drifted DESC, revision DESC
LIMIT 1
