"""The collector: HTTP in, envelopes on the bus out. `create_app` builds it, `serve.run` serves it."""

from driftwheel.collector.settings import CollectorSettings, Key

__all__ = ["CollectorSettings", "Key"]
