-- Which apps, models, prompt versions (`by`) make up the traffic over time? The ten with the most of `weight`, and all others as one.
-- Empty: no inference (or none that failed, where failures are shown) with these apps, environments, models and prompt versions started in this time range.
-- requests: Inferences that started, the ten parts with most of them, and all others as one.
-- errors: Inferences that failed, the ten parts with most of them, and all others as one.
-- tokens: Tokens in and out.
-- cost_usd: What the inferences with a known price cost, the ten most expensive parts, and all others as one.
-- latency_p95_s: 95 of 100 inferences took at most so long; the ten busiest parts, and all others as one.
-- ttft_p95_s: 95 of 100 streamed answers began after at most so long; the ten busiest parts, and all others as one.
CREATE OR REPLACE VIEW driftwheel.parts_over_time AS
SELECT time, if(place > 10, 'all others', if(part = '', 'not given', substringUTF8(part, 1, 80))) AS name,
       sum(p.requests) AS requests, sum(p.errors) AS errors, sum(p.tokens) AS tokens, sum(p.cost_usd) AS cost_usd,
       quantileTDigestMerge(0.95)(latency) AS p95, if(isFinite(p95), p95, NULL) AS latency_p95_s,
       quantileTDigestMerge(0.95)(ttft) AS first, if(isFinite(first), first, NULL) AS ttft_p95_s
FROM
(
    SELECT *, dense_rank() OVER (ORDER BY weight DESC, part) AS place
    FROM
    (
        SELECT *, sum(heavy) OVER (PARTITION BY part) AS weight
        FROM
        (
            SELECT toStartOfInterval(started_at, toIntervalSecond({step:UInt32})) AS time,
                   if({by:String} = 'app', app, if({by:String} = 'model', model, if({by:String} = 'environment', environment,
                       if({by:String} = 'prompt_version', trim(concat(prompt_name, ' ', prompt_version)), if({by:String} = 'error_type', error_type,
                       if({by:String} = 'provider', provider, if({by:String} = 'finish_reason', finish_reason,
                       if({by:String} = 'language', language, '')))))))) AS part,
                   count() AS requests, countIf(error_type != '') AS errors, toFloat64(ifNull(sum(i.cost_usd), 0)) AS cost_usd,
                   ifNull(sum(i.input_tokens), 0) + ifNull(sum(i.output_tokens), 0) AS tokens,
                   if({weight:String} = 'cost_usd', cost_usd, toFloat64(if({weight:String} = 'errors', errors, requests))) AS heavy,
                   quantileTDigestState(0.95)(i.latency_s) AS latency, quantileTDigestState(0.95)(i.ttft_s) AS ttft
            FROM driftwheel.inferences AS i
            WHERE tenant = {tenant:String} AND started_at >= {since:DateTime('UTC')} AND started_at < {until:DateTime('UTC')}
              AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
              AND (has({environments:Array(String)}, '*') OR environment IN {environments:Array(String)})
              AND (has({models:Array(String)}, '*') OR model IN {models:Array(String)})
              AND (has({versions:Array(String)}, '*') OR prompt_version IN {versions:Array(String)})
              AND ({by:String} != 'error_type' OR error_type != '')
            GROUP BY time, part
        )
    )
) AS p
GROUP BY time, name
ORDER BY time, name
LIMIT 20000
