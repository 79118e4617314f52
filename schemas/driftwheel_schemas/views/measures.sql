-- What does one signal read, inference by inference (or feedback by feedback), accepted after `since` and up to `until`? Without a signal, 1 each.
CREATE OR REPLACE VIEW driftwheel.measures AS
SELECT tenant, app, environment, provider, model, prompt_name, prompt_version, accepted_at,
       multiIf({signal:String} = '', 1.,
               {signal:String} = 'latency.seconds', latency_s,
               {signal:String} = 'ttft.seconds', ttft_s,
               {signal:String} = 'cost.usd', toFloat64(cost_usd),
               {signal:String} = 'error.flag', toFloat64(error_type != ''),
               if(mapContains(readings, {signal:String}), readings[{signal:String}], NULL)) AS value
FROM driftwheel.inferences
WHERE accepted_at > {since:DateTime64(6, 'UTC')} AND accepted_at <= {until:DateTime64(6, 'UTC')}
  AND started_at > {since:DateTime64(6, 'UTC')} - INTERVAL 1 DAY -- the primary key goes by this time; what began earlier is left out
  AND NOT startsWith({signal:String}, 'feedback.') AND value IS NOT NULL
UNION ALL
SELECT tenant, app, '' AS environment, '' AS provider, model, prompt_name, prompt_version, accepted_at, value
FROM driftwheel.feedback
WHERE matched AND at > {since:DateTime64(6, 'UTC')} - INTERVAL 1 DAY
  AND accepted_at > {since:DateTime64(6, 'UTC')} AND accepted_at <= {until:DateTime64(6, 'UTC')}
  AND name = extract({signal:String}, '^feedback\\.(.+)\\.(?:flag|score)$') AND value IS NOT NULL
UNION ALL
SELECT tenant, app, '' AS environment, '' AS provider, model, prompt_name, prompt_version, accepted_at, toFloat64(value) AS value
FROM driftwheel.late_readings
WHERE signal = {signal:String} AND started_at > {since:DateTime64(6, 'UTC')} - INTERVAL 1 DAY
  AND accepted_at > {since:DateTime64(6, 'UTC')} AND accepted_at <= {until:DateTime64(6, 'UTC')}
