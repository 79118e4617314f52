"""
A small believable world for boards: a month of three apps of one tenant, something of everything, in the tables themselves.

Everything is drawn from one seed, so that a test can count the rows in Python and compare. Rows that come again with a higher
revision are inserted one revision after the other, as the workers do it: a board that forgets that counts them twice.
"""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from itertools import pairwise

from boards_history import History
from boards_names import PLAIN, Names, Row, instant, iso
from driftwheel.store.clickhouse import ClickHouse
from driftwheel_schemas import derived_id

LE = ("0.005", "0.05", "0.5", "5", "+Inf")
SAMPLES = (
    (timedelta(days=29), timedelta(hours=3)),
    (timedelta(days=1), timedelta(minutes=5)),
    (timedelta(minutes=10), timedelta(seconds=15)),
)
"""From how long ago meters are sampled how often: as in life, but thinner the older they are."""


@dataclass(frozen=True)
class World:
    """The rows of every table at *now*, `size` calls of models of a tenant, and what tests count in them."""

    now: datetime
    names: Names = PLAIN
    size: int = 3_000
    seed: int = 7

    @cached_property
    def inferences(self) -> list[Row]:
        """Two thirds over 29 days, a third within the last day, some in the last five minutes."""
        draw = random.Random(self.seed)
        ages = [draw.uniform(0, 29 * 86_400) for _ in range(self.size * 2 // 3)]
        ages += [draw.uniform(0, 86_400) for _ in range(self.size // 3 - 60)] + [draw.uniform(2, 290) for _ in range(60)]
        return [self._inference(draw, i, timedelta(seconds=age)) for i, age in enumerate(sorted(ages, reverse=True))]

    def _inference(self, draw: random.Random, i: int, age: timedelta) -> Row:
        names, started = self.names, self.now - age
        app = draw.choices(range(3), (6, 3, 1))[0]
        model = draw.choices(range(3), (5, 3, 2))[0]
        error = draw.choices(("", "timeout", "rate_limit"), (97, 2, 1))[0]
        latency = round(draw.lognormvariate(-0.2 + app / 2, 0.6), 4)
        tokens_in, tokens_out = draw.randrange(40, 2_000), draw.randrange(5, 600)
        cost = None if error or model == 2 else round(names.cost * (tokens_in * 15 + tokens_out * 60) / 1e8, 9)
        new = age < timedelta(days=10)
        readings = {
            "latency.seconds": latency,
            "error.flag": float(bool(error)),
            "refusal.flag": float(draw.random() < (0.15 if new else 0.03)),
        }
        readings |= {"empty.flag": 0.0, "json.valid.flag": float(draw.random() < 0.95), "length.response.chars": 4.0 * tokens_out}
        return {
            "tenant": names.tenant,
            "id": derived_id(names.tenant, self.seed, "inference", i),
            "app": names.apps[app],
            "environment": names.environments[draw.random() < 0.2],
            "operation": "chat",
            "provider": ("openai", "anthropic", "self-hosted")[model],
            "model": names.models[model],
            "response_model": names.models[model],
            "prompt_name": "faq",
            "prompt_version": names.versions[new],
            "session_id": f"session-{i // 3}",
            "user_id": f"{names.user}-{draw.randrange(40)}",
            "trace_id": f"{i:032x}",
            "response_id": f"r-{i}",
            "finish_reason": "error" if error else draw.choice(("stop", "stop", "stop", "length")),
            "error_type": error,
            "started_at": iso(started),
            "accepted_at": iso(min(started + timedelta(seconds=latency + 0.5), self.now)),
            "latency_s": latency,
            "ttft_s": None if app == 2 or error else round(latency * draw.uniform(0.1, 0.4), 4),
            "input_tokens": tokens_in,
            "output_tokens": None if error else tokens_out,
            "cached_tokens": tokens_in // 2 if i % 3 == 0 else 0,
            "cost_usd": None if cost is None else f"{cost:.9f}",
            "readings": readings,
            "labels": {"language.code": draw.choice(("en", "de", names.label)), "feature": draw.choice(("faq", "returns", names.label))},
            "topic": "driftwheel.inferences.v1",
            "partition": i % 4,
            "offset": i // 4,
        }

    @cached_property
    def feedback(self) -> list[Row]:
        """Of every sixth call thumbs, joined (revisions 0 and 1) but for every tenth; some ratings of a judge and corrections."""
        draw, found = random.Random(self.seed + 1), []
        for i, about in enumerate(self.inferences[::6]):
            started = instant(about["started_at"])
            lag = min(draw.expovariate(1 / 900), (self.now - started).total_seconds() - 1)
            kind = ("thumbs", "thumbs", "thumbs", "rating", "correction")[i % 5]
            liked = draw.random() < (0.8 if about["prompt_version"] == self.names.versions[0] else 0.55)
            raw: Row = {
                "tenant": self.names.tenant,
                "id": derived_id(self.names.tenant, self.seed, "feedback", i),
                "revision": 0,
                "matched": 0,
                "name": kind,
                "value": {"thumbs": float(liked), "rating": float(draw.randrange(1, 6)), "correction": None}[kind],
                "label": self.names.label if kind == "thumbs" else "",
                "comment": "" if liked else self.names.text,
                "correction": self.names.text if kind == "correction" else "",
                "source": "judge" if kind == "rating" else "user",
                "author": about["user_id"],
                "inference_id": about["id"] if i % 10 else "",
                "at": iso(started + timedelta(seconds=lag)),
                "accepted_at": iso(started + timedelta(seconds=lag)),
            }
            found.append(raw)
            if i % 10:
                known = {name: about[name] for name in ("app", "model", "prompt_name", "prompt_version")}
                found.append(raw | known | {"revision": 1, "matched": 1, "lag_s": lag})
        return found

    @cached_property
    def late_readings(self) -> list[Row]:
        """A score and a flag of every fourth call."""
        draw = random.Random(self.seed + 2)
        return [
            self._about(one, "late", signal) | {"signal": signal, "version": 1, "value": value}
            for one in self.inferences[::4]
            for signal, value in (("faithfulness.score", round(draw.betavariate(8, 2), 4)), ("grounded.flag", float(draw.random() < 0.9)))
        ]

    @cached_property
    def embeddings(self) -> list[Row]:
        """Prompt and response of every fifth call, eight dimensions."""
        draw = random.Random(self.seed + 3)
        return [
            self._about(one, "vector", role) | {"role": role, "encoder": "minilm", "vec": [round(draw.gauss(0, 1), 2) for _ in range(8)]}
            for one in self.inferences[::5]
            for role in ("prompt", "response")
        ]

    def _about(self, one: Row, *what: str) -> Row:
        copied = ("tenant", "app", "model", "prompt_name", "prompt_version", "started_at", "accepted_at")
        return {name: one[name] for name in copied} | {"id": derived_id(one["id"], *what), "inference_id": one["id"]}

    @cached_property
    def history(self) -> History:
        """What became of it."""
        return History(self.now, self.names, [str(one["id"]) for one in self.inferences[-3:]])

    @cached_property
    def meters(self) -> list[Row]:
        """Counters, gauges and a histogram of two processes; the collector began again from 0 six hours ago."""
        moments = sorted({self.now - step * every for begin, every in SAMPLES for step in range(begin // every + 1)})
        draw, found = random.Random(self.seed + 4), []
        for instance, name, labels, per_s in counters():
            value, before = 0.0, moments[0]
            for at in moments:
                value = value + round(draw.uniform(0.5, 1.5) * per_s * (at - before).total_seconds())
                if instance == "collector-1" and before < self.now - timedelta(hours=6) <= at:
                    value = float(round(per_s * 60))  # what it counted within a minute of its new life
                found.append({"at": iso(at), "instance": instance, "name": name, "labels": labels, "value": value})
                before = at
        for name, labels, value in (
            ("ready", {"role": "signals"}, 1.0),
            ("lag_records", {"role": "signals", "topic": "t", "partition": "0"}, 7.0),
        ):
            found += [
                {"at": iso(at), "instance": "workers-1", "name": f"driftwheel_worker_{name}", "labels": labels, "value": value}
                for at in moments
            ]
        return found

    def tables(self) -> Mapping[str, Sequence[Row]]:
        """Table → its rows."""
        names = ("inferences", "feedback", "late_readings", "embeddings", "meters")
        return {name: getattr(self, name) for name in names} | dict(self.history.tables())

    def put(self, store: ClickHouse, *, without: Sequence[str] = ()) -> None:
        """Insert everything but the tables *without*; each revision in a statement of its own, as workers do it."""
        for table, rows in self.tables().items():
            if table in without:
                continue
            for revision in sorted({int(str(row.get("revision", 0))) for row in rows}):
                store.insert(table, [row for row in rows if row.get("revision", 0) == revision])

    def calls(self, since: datetime, until: datetime, **where: object) -> list[Row]:
        """The calls that began within the range, ends included, and have the given values."""
        return [
            row
            for row in self.inferences
            if since <= instant(row["started_at"]) <= until and all(row[name] == value for name, value in where.items())
        ]

    def said(self, since: datetime, until: datetime, **where: object) -> list[Row]:
        """The joined feedback of the range."""
        return [
            row
            for row in self.feedback
            if row["revision"] == 1 and since <= instant(row["at"]) <= until and all(row[name] == value for name, value in where.items())
        ]

    def increase(self, name: str, since: datetime, until: datetime, **labels: str) -> float:
        """What the counter *name* grew by between its samples in the range; a counter that began again counts from 0."""
        series: dict[str, list[float]] = {}
        for row in self.meters:
            if row["name"] == name and since <= instant(row["at"]) <= until and labels.items() <= dict(row["labels"]).items():  # type: ignore[call-overload]
                series.setdefault(f"{row['instance']} {row['labels']}", []).append(float(str(row["value"])))
        return sum(b - a if b >= a else b for values in series.values() for a, b in pairwise(values))


def counters() -> Iterator[tuple[str, str, dict[str, str], float]]:
    """Instance, name, labels and how much a second."""
    collector, worker = "driftwheel_collector", "driftwheel_worker"
    yield "collector-1", f"{collector}_accepted_total", {"event": "inference"}, 0.5
    yield "collector-1", f"{collector}_accepted_total", {"event": "feedback"}, 0.05
    yield "collector-1", f"{collector}_rejected_total", {"event": "inference", "reason": "invalid"}, 0.01
    yield "collector-1", f"{collector}_duplicates_total", {"event": "inference"}, 0.005
    yield "collector-1", f"{collector}_truncated_total", {"event": "inference"}, 0.002
    yield "collector-1", f"{collector}_requests_total", {"event": "inference", "status": "202"}, 0.1
    yield "collector-1", f"{collector}_requests_total", {"event": "inference", "status": "503"}, 0.001
    for what, per_s in (("stored", 0.5), ("skipped", 0.01), ("undecodable", 0.002), ("id_conflict", 0.001)):
        yield "workers-1", f"{worker}_events_total", {"role": "signals", "what": what}, per_s
    for what, per_s in (("stored", 0.05), ("matched", 0.045), ("unmatched", 0.004), ("lag_seconds", 40.0)):
        yield "workers-1", f"{worker}_events_total", {"role": "feedback", "what": what}, per_s
    yield "collector-1", f"{collector}_redactions_total", {"kind": "email"}, 0.02
    for role in ("signals", "feedback"):
        for name, labels in (("delay", {}), ("step", {"step": "insert"})):
            for n, le in enumerate(LE):
                yield "workers-1", f"{worker}_{name}_seconds_bucket", {"role": role, "le": le, **labels}, 0.1 * n + 0.02
            yield "workers-1", f"{worker}_{name}_seconds_count", {"role": role, **labels}, 0.42
            yield "workers-1", f"{worker}_{name}_seconds_sum", {"role": role, **labels}, 0.1


def wilson(hits: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """
    The 95 % interval of a share (Wilson 1927).

    >>> tuple(round(x, 4) for x in wilson(8, 10))
    (0.4902, 0.9433)
    """
    share, spread = hits / n, z * z / n
    middle, half = share + spread / 2, z * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    return (middle - half) / (1 + spread), (middle + half) / (1 + spread)


def quantile(values: Sequence[float], q: float) -> float:
    """The q-quantile by sorting, without interpolation."""
    return sorted(values)[min(int(q * len(values)), len(values) - 1)]
