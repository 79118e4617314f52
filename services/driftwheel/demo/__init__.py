"""The demo: the whole loop on one machine, with one command (`driftwheel demo`)."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """
    What is played. `data` is a JSONL file of a user's own questions and answers, `keep` a folder to leave everything in.
    `intents` is how many of the corpus are played: what a small model can learn in three minutes.

    `fast` ends with the trigger. `hopeless` plays the other ending: people are angry at answers that are right, so no
    training can help. `kafka` is a broker's host:port: then the events go through Kafka and Faust, on topics of the demo's own.
    """

    fast: bool = False
    hopeless: bool = False
    data: Path | None = None
    keep: Path | None = None
    intents: int = 24
    kafka: str = ""
    seed: int = 7
