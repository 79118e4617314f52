-- Open incidents first, the gravest and newest before others.
SELECT substring(toString(id), 1, 8) AS id, state, severity, title, length(verdicts) AS verdicts, formatDateTime(onset, '%F %T') AS since,
       formatDateTime(opened_at, '%F %T') AS opened, formatDateTime(resolved_at, '%F %T') AS resolved, if(state = 'open', reason, resolution) AS why
FROM driftwheel.incidents FINAL
ORDER BY state, severity, opened_at DESC
LIMIT {limit:UInt32}
