-- Which apps, environments, models or prompt versions (`by`) were there lately, to choose from? Those of the weeks since the one before `since`.
-- Empty: no inference was accepted since then.
-- value: What stands between quotes in SQL: no backslash ends it, no $ begins a macro.
CREATE OR REPLACE VIEW driftwheel.choices AS
SELECT replaceAll(replaceAll(text, '\\', '\\\\'), '$', '\\x24') AS value, text
FROM
(
    -- By the names of partitions (weeks of accepted_at): 5 ms instead of 50, since no time of any row is read.
    SELECT DISTINCT if({by:String} = 'app', app, if({by:String} = 'environment', environment, if({by:String} = 'model', model, prompt_version)))::String AS text
    FROM driftwheel.inferences
    WHERE tenant = {tenant:String} AND _partition_id >= formatDateTime(toMonday({since:DateTime('UTC')}) - 7, '%Y%m%d')
      AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
)
ORDER BY text
LIMIT 500
