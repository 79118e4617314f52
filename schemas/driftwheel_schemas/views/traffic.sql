-- How much is asked, how fast are the answers, what do they cost, and how many people ask, over time?
-- Empty: no inference with these apps, environments, models and prompt versions started in this time range.
-- requests: Inferences that started.
-- requests_per_s: Inferences that started, a second; a step that is cut off counts with the part that is seen.
-- errors: Inferences that failed (`error_type`).
-- error_share: Inferences that failed, of all.
-- latency_p50_s: Half of the inferences took at most so long, from the request to the last token.
-- latency_p95_s: 95 of 100 took at most so long.
-- latency_p99_s: 99 of 100 took at most so long.
-- ttft_p50_s: Half of the streamed answers began after at most so long.
-- ttft_p95_s: 95 of 100 began after at most so long.
-- ttft_p99_s: 99 of 100 began after at most so long.
-- streamed_share: Inferences that tell the time of their first token, of all.
-- median_tokens_per_s: Half of the answers came faster: output tokens after the first, by the time after the first.
-- slowest_tokens_per_s: 95 of 100 answers came faster.
-- input_tokens: Tokens of prompts, cached ones included.
-- cached_tokens: Tokens of prompts that the provider had cached.
-- uncached_tokens: Tokens of prompts that were read anew.
-- output_tokens: Tokens of answers, reasoning included.
-- tokens: Tokens in and out.
-- cached_share: Cached ones of the tokens of prompts.
-- cost_usd: What the inferences with a known price cost together.
-- cost_per_request_usd: The mean of the inferences with a known price.
-- priced_share: Inferences whose price is known, of all; the cost of the others is missing.
-- users: Users that are told apart (`user_id`), within 2 %.
-- sessions: Sessions that are told apart (`session_id`), within 2 %.
-- requests_per_session: Inferences a session.
-- apps: Apps with an inference.
CREATE OR REPLACE VIEW driftwheel.traffic AS
SELECT time,
       requests, requests / greatest(1, dateDiff('second', greatest(time, {since:DateTime('UTC')}), least(time + {step:UInt32}, {until:DateTime('UTC')}))) AS requests_per_s,
       errors, errors / nullIf(requests, 0) AS error_share,
       latency[1] AS latency_p50_s, latency[2] AS latency_p95_s, latency[3] AS latency_p99_s,
       ttft[1] AS ttft_p50_s, ttft[2] AS ttft_p95_s, ttft[3] AS ttft_p99_s, streamed / nullIf(requests, 0) AS streamed_share,
       speed[1] AS slowest_tokens_per_s, speed[2] AS median_tokens_per_s,
       input_tokens, cached_tokens, input_tokens - cached_tokens AS uncached_tokens, output_tokens, input_tokens + output_tokens AS tokens,
       cached_tokens / nullIf(input_tokens, 0) AS cached_share,
       cost_usd, cost_usd / nullIf(priced, 0) AS cost_per_request_usd, priced / nullIf(requests, 0) AS priced_share,
       users, sessions, requests / nullIf(sessions, 0) AS requests_per_session, apps
FROM
(
    SELECT toStartOfInterval(started_at, toIntervalSecond({step:UInt32})) AS time,
           count() AS requests, countIf(error_type != '') AS errors, count(i.ttft_s) AS streamed, count(i.cost_usd) AS priced,
           arrayMap(x -> if(isFinite(x), x, NULL), quantilesTDigest(0.5, 0.95, 0.99)(i.latency_s)) AS latency,
           arrayMap(x -> if(isFinite(x), x, NULL), quantilesTDigest(0.5, 0.95, 0.99)(i.ttft_s)) AS ttft,
           arrayMap(x -> if(isFinite(x), x, NULL), quantilesTDigest(0.05, 0.5)(
               if(i.latency_s - ifNull(i.ttft_s, 0) >= 0.001, (i.output_tokens - isNotNull(i.ttft_s)) / (i.latency_s - ifNull(i.ttft_s, 0)), NULL))) AS speed,
           toInt64(ifNull(sum(i.input_tokens), 0)) AS input_tokens, ifNull(sum(i.cached_tokens), 0) AS cached_tokens,
           ifNull(sum(i.output_tokens), 0) AS output_tokens, toFloat64(ifNull(sum(i.cost_usd), 0)) AS cost_usd,
           uniqCombinedIf(12)(user_id, user_id != '') AS users, uniqCombinedIf(12)(session_id, session_id != '') AS sessions, uniqCombined(12)(app) AS apps
    FROM driftwheel.inferences AS i
    WHERE tenant = {tenant:String} AND started_at >= {since:DateTime('UTC')} AND started_at < {until:DateTime('UTC')}
      AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
      AND (has({environments:Array(String)}, '*') OR environment IN {environments:Array(String)})
      AND (has({models:Array(String)}, '*') OR model IN {models:Array(String)})
      AND (has({versions:Array(String)}, '*') OR prompt_version IN {versions:Array(String)})
    GROUP BY time
)
ORDER BY time WITH FILL TO {until:DateTime('UTC')} STEP toIntervalSecond({step:UInt32})
LIMIT 20000
