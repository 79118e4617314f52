-- Which apps, environments, models or prompt versions (`by`) were there, to choose from?
-- Empty: no inference started in this time range.
CREATE OR REPLACE VIEW driftwheel.choices AS
SELECT DISTINCT if({by:String} = 'app', app, if({by:String} = 'environment', environment, if({by:String} = 'model', model, prompt_version)))::String AS value
FROM driftwheel.inferences
WHERE tenant = {tenant:String} AND started_at >= {since:DateTime('UTC')} AND started_at < {until:DateTime('UTC')}
  AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
ORDER BY value
LIMIT 500
