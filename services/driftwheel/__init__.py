"""
Driftwheel: watches LLM applications in production and turns what it sees into better models.

    import driftwheel

    driftwheel.init(app="shop-assistant")
    event = driftwheel.record(prompt=messages, response=completion, latency_s=1.2, session_id="s-1")
    driftwheel.feedback(True, name="thumbs", inference_id=event)

Importing this costs the standard library only.
"""

from driftwheel.sdk import Client, FlushResult, Limits, Stats, champion, feedback, flush, init, record, shutdown, stats

__all__ = ["Client", "FlushResult", "Limits", "Stats", "champion", "feedback", "flush", "init", "record", "shutdown", "stats"]
