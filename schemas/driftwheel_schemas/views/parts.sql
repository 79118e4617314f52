-- Which apps, models, prompt versions, users (`by`) have most of `weight`, and how do they fare? The first fifty.
-- Empty: no inference (or none that failed, where failures are shown) with these apps, environments, models and prompt versions started in this time range.
CREATE OR REPLACE VIEW driftwheel.parts AS
SELECT if(part = '', 'not given', substringUTF8(part, 1, 80)) AS name, requests, errors, errors / requests AS error_share,
       if(isFinite(p95), p95, NULL) AS latency_p95_s, input_tokens, output_tokens, cached_tokens / nullIf(input_tokens, 0) AS cached_share,
       cost_usd, cost_usd / nullIf(priced, 0) AS cost_per_request_usd, users, sessions, last_at
FROM
(
    SELECT if({by:String} = 'app', app, if({by:String} = 'model', model, if({by:String} = 'environment', environment,
               if({by:String} = 'prompt_version', trim(concat(prompt_name, ' ', prompt_version)), if({by:String} = 'user', user_id,
               if({by:String} = 'provider', provider, if({by:String} = 'finish_reason', finish_reason, if({by:String} = 'error_type', error_type,
               if({by:String} = 'language', language, ''))))))))) AS part,
           count() AS requests, countIf(error_type != '') AS errors, quantileTDigest(0.95)(i.latency_s) AS p95,
           ifNull(sum(i.input_tokens), 0) AS input_tokens, ifNull(sum(i.output_tokens), 0) AS output_tokens, ifNull(sum(i.cached_tokens), 0) AS cached_tokens,
           toFloat64(ifNull(sum(i.cost_usd), 0)) AS cost_usd, count(i.cost_usd) AS priced,
           uniqCombinedIf(12)(user_id, user_id != '') AS users, uniqCombinedIf(12)(session_id, session_id != '') AS sessions, max(started_at) AS last_at
    FROM driftwheel.inferences AS i
    WHERE tenant = {tenant:String} AND started_at >= {since:DateTime('UTC')} AND started_at < {until:DateTime('UTC')}
      AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
      AND (has({environments:Array(String)}, '*') OR environment IN {environments:Array(String)})
      AND (has({models:Array(String)}, '*') OR model IN {models:Array(String)})
      AND (has({versions:Array(String)}, '*') OR prompt_version IN {versions:Array(String)})
      AND ({by:String} != 'error_type' OR error_type != '')
    GROUP BY part
)
ORDER BY if({weight:String} = 'cost_usd', cost_usd, toFloat64(if({weight:String} = 'errors', errors, requests))) DESC, part
LIMIT 50
