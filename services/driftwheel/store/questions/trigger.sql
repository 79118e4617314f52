-- One trigger as it stands, by the beginning of its id.
SELECT * EXCEPT (id, verdict_id, incident_id), toString(id) AS id, toString(verdict_id) AS verdict_id, toString(incident_id) AS incident_id
FROM driftwheel.triggers FINAL
WHERE startsWith(toString(triggers.id), {id:String})
LIMIT 2
