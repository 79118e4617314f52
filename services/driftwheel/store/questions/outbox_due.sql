-- What one action is to deliver now: of each subject the oldest that waits, with how its opening went and whether it is over by now.
SELECT waiting.* EXCEPT (id, subject), toString(waiting.id) AS id, toString(waiting.subject) AS subject, opening.state AS opening, incident.state = 'resolved' AS over,
       incident.signals AS signals
FROM
(
    SELECT * FROM driftwheel.outbox FINAL
    WHERE action = {action:String} AND state = 'pending' AND decided_at > {now:DateTime64(6, 'UTC')} - INTERVAL 60 DAY
    ORDER BY decided_at, kind
    LIMIT 1 BY tenant, subject
) AS waiting
LEFT JOIN
(
    SELECT subject, if(countIf(state = 'sent') > 0, 'sent', any(state)) AS state -- a ticket that became a page was opened twice
    FROM driftwheel.outbox FINAL WHERE action = {action:String} AND kind = 'incident.opened' GROUP BY subject
) AS opening ON opening.subject = waiting.subject
LEFT JOIN (SELECT id, state, signals FROM driftwheel.incidents FINAL) AS incident ON incident.id = waiting.subject
WHERE waiting.due_at <= {now:DateTime64(6, 'UTC')}
ORDER BY waiting.decided_at
LIMIT {limit:UInt32}
