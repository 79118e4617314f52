"""
The enrich worker beside a bare loop of model.encode over the same texts: what do envelopes, rows and observations cost?

    python benchmarks/embedding.py            # a minute on two cores; prints texts a second of both and their ratio

Both run in one process and take turns, since machines are shared. Goal: at least 85% of the bare loop.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec

from driftwheel import embedders
from driftwheel.bus import Claim, Record
from driftwheel.embedders.sentence_transformers import SentenceTransformers
from driftwheel.pipeline import Batch
from driftwheel.pipeline.enrich import Enrich
from driftwheel_schemas import Inference, new_id
from driftwheel_schemas.topics import INFERENCES

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = "the lamp order price green return shop parcel street week please account number card open question answer paper house light"


def text(rng: random.Random, tokens: int) -> str:
    """A text of some *tokens* word pieces: each of these words is one."""
    return " ".join(rng.choices(WORDS.split(), k=tokens))


def record(events: Sequence[Inference], offset: int) -> Record:
    """One envelope, as the collector packs it."""
    return Record(INFERENCES, 0, offset, "", msgspec.json.encode(list(events)), {}, NOW)


def timed(do: Callable[[], object]) -> float:
    """Seconds that *do* takes."""
    started = time.perf_counter()
    do()
    return time.perf_counter() - started


def main() -> None:
    """Take turns over *rounds* of batches and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8, help="even, so that each goes first as often as the other")
    parser.add_argument("--events", type=int, default=50, help="inferences in a batch: half a second of traffic at 100/s")
    parser.add_argument("--tokens", type=int, default=50)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()

    embedder = embedders.load("sentence_transformers", threads=args.threads)
    assert isinstance(embedder, SentenceTransformers)
    core, rng = Enrich(embedder, observations=4), random.Random(7)
    core.assigned(Claim(INFERENCES, 0), [[]])
    embedder.encode([text(rng, args.tokens)] * 32)  # warm

    bare: list[float] = []
    ours: list[float] = []
    for number in range(args.rounds):
        pairs = [(text(rng, args.tokens), text(rng, args.tokens)) for _ in range(args.events)]
        texts = [one for pair in pairs for one in pair]
        events = [
            Inference(id=new_id(), app="a", model="m", started_at=NOW, prompt=prompt, response=response) for prompt, response in pairs
        ]
        batch = Batch([record(events, number)], NOW)

        def worker(batch: Batch = batch) -> None:
            outcome = core.process(batch, [[] for _ in core.wants(batch)])
            core.landed(outcome)

        def loop(texts: Sequence[str] = texts) -> None:
            embedder._model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)  # noqa: SLF001  the bare model

        turns: list[tuple[list[float], Callable[[], object]]] = [(ours, worker), (bare, loop)]
        for times, do in turns if number % 2 else turns[::-1]:
            times.append(timed(do))

    count = 2 * args.events
    print(f"texts of {args.tokens} tokens, {count} a batch, {args.threads} threads, {args.rounds} rounds")
    print(f"bare model.encode  {count / statistics.median(bare):8.1f} texts/s")
    print(f"enrich worker      {count / statistics.median(ours):8.1f} texts/s")
    print(f"ratio of all rounds {sum(bare) / sum(ours):.3f}")


if __name__ == "__main__":
    main()
