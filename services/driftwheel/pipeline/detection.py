"""
The detection worker: observations → verdicts (docs/architecture.md).

It says verdicts as it goes and acks only what is in a snapshot. A snapshot is taken before the records of a batch, so
it only holds what was said; after a kill the next owner goes on from it and says the rest again, under the same ids.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from driftwheel.bus import Claim, Record
from driftwheel.detectors.finding import micros
from driftwheel.detectors.settings import DetectionSettings
from driftwheel.pipeline import Answer, Batch, Insert, Outcome, Question, Row
from driftwheel.pipeline.admission import check_rejects
from driftwheel.pipeline.detection_series import Series, fault_of, name_of, restored, row_of
from driftwheel.pipeline.envelope import Opened, Placed, letter, open_envelopes, pack
from driftwheel_schemas import DeadLetter, Observation, Verdict
from driftwheel_schemas.topics import OBSERVATIONS, VERDICTS


@dataclass(slots=True)
class _Partition:
    """What is known of one partition. `next` is the offset behind what was taken, `saved` that behind the last snapshot."""

    series: dict[str, Series] = field(default_factory=dict)
    size_bytes: int = 0
    next: int | None = None
    until: int = 0
    saved: int | None = None
    saved_at: datetime | None = None
    taken: int = 0


@dataclass(frozen=True, slots=True)
class _Saving:
    """A snapshot on its way to the store, and what has to be true again if it does not get there."""

    series: Series
    dirty_at: int
    version: str


@dataclass(slots=True)
class _Step:
    """What a batch comes to, as it is gathered."""

    verdicts: list[Verdict] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    states: list[Row] = field(default_factory=list)
    quiet: list[Verdict] = field(default_factory=list)
    acks: dict[Claim, int] = field(default_factory=dict)
    saving: list[_Saving] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, name: str, n: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + n


class Detection:
    """The core of the role `detection`; see `driftwheel.pipeline.Worker` for how it is called."""

    group = "detection"
    topics = (OBSERVATIONS,)

    def __init__(self, verdicts: int, settings: DetectionSettings | None = None) -> None:
        """*verdicts* is the number of partitions of the verdicts topic."""
        self.settings = settings or DetectionSettings()
        self._verdicts = verdicts
        self._partitions: dict[Claim, _Partition] = {}
        self._unsaid: list[Verdict] = []
        self._saving: list[_Saving] = []
        self._unreadable = 0

    @property
    def series(self) -> dict[str, Series]:
        """Every series that is watched here, by its name."""
        return {name: one for partition in self._partitions.values() for name, one in partition.series.items()}

    def seeds(self, claim: Claim, partitions: int) -> Sequence[Question]:  # noqa: ARG002  states are stored by partition
        return [Question("detector_state", {"partition": claim.partition})]

    def assigned(self, claim: Claim, answers: Sequence[Answer]) -> None:
        """Start from the committed offset: snapshots are stored before it is, and each series skips what its own holds."""
        parts = {(row["series"], row["part"]): row for row in answers[0]}
        partition = _Partition()
        for (name, part), row in parts.items():
            if part == "state":
                if one := restored(row, parts.get((name, "reference")), self.settings):
                    partition.series[name] = one
                    partition.size_bytes += one.size_bytes
                else:
                    self._unreadable += 1
        self._partitions[claim] = partition

    def revoked(self, claim: Claim) -> None:
        self._partitions.pop(claim, None)

    def wants(self, batch: Batch) -> Sequence[Question]:  # noqa: ARG002  the snapshots hold all it needs
        return []

    def process(self, batch: Batch, answers: Sequence[Answer]) -> Outcome:  # noqa: ARG002
        opened = _usable(open_envelopes(batch.records, Observation))
        check_rejects(opened, batch.records)  # type: ignore[type-var]  # it looks into no event
        step = _Step(verdicts=self._unsaid, letters=opened.letters)
        for lost in self._saving:
            lost.series.touch(lost.dirty_at)
        if not self._unsaid:
            self._snapshot(step, batch.now)
        partitions = {id(record): self._partitions[Claim(record.topic, record.partition)] for record in batch.records}
        for placed in opened.events:
            step.verdicts.extend(self._take(placed, partitions[id(placed.record)], step))
        self._advance(batch.records)
        step.count("series_unreadable", self._unreadable)
        self._unsaid, self._saving, self._unreadable = step.verdicts, step.saving, 0
        return self._outcome(step)

    def landed(self, outcome: Outcome) -> None:
        self._unsaid = []
        for stored in self._saving:
            stored.series.version_saved = stored.version
        self._saving = []
        for claim, offset in outcome.acks.items():
            if partition := self._partitions.get(claim):
                partition.saved = offset

    def _outcome(self, step: _Step) -> Outcome:
        published = [(verdict.app, verdict) for verdict in step.verdicts]
        return Outcome(
            inserts=[Insert("detector_state", step.states), Insert("verdicts", [row_of(one) for one in [*step.verdicts, *step.quiet]])],
            publish=list(pack(VERDICTS, self._verdicts, published)),
            letters=step.letters,
            acks=step.acks,
            counts=step.counts | {"said": len(step.verdicts), "letters": len(step.letters)},
            doubtful=bool(step.verdicts),  # since the last snapshot an earlier owner may have said them, in more than one batch
        )

    def _take(self, placed: Placed[Observation], partition: _Partition, step: _Step) -> Iterable[Verdict]:
        seen, record = placed.event, placed.record
        series = partition.series.get(seen.series)
        if seen.kind == "accept":
            if series and not series.knows(record):
                series.accept(record.offset)
                step.count("accepted")
            return ()
        series = series or self._admit(partition, seen)
        if series is None:
            step.count("series_refused")
        elif not series.holds(seen):
            step.letters.append(
                _unusable(placed, f"the series holds {series.name.kind}s of {series.name.length} bytes; give another signal or segment")
            )
        elif series.knows(record):
            step.count("in_snapshot")
        elif not series.units.add(seen.unit):
            step.count("unit_seen")
        else:
            step.count("observed")
            partition.taken += 1
            return series.take(seen, record.offset)
        return ()

    def _admit(self, partition: _Partition, seen: Observation) -> Series | None:
        """A new series, if there is room in items and bytes."""
        if len(partition.series) >= self.settings.max_series or partition.size_bytes >= self.settings.max_bytes:
            return None
        series = partition.series[seen.series] = Series(name_of(seen), self.settings)
        partition.size_bytes += series.size_bytes
        return series

    def _advance(self, records: Sequence[Record]) -> None:
        for record in records:
            partition = self._partitions[Claim(record.topic, record.partition)]
            partition.next = record.offset + 1
            partition.until = max(partition.until, micros(record.appended_at))

    def _snapshot(self, step: _Step, now: datetime) -> None:
        """Store the partitions where that is due; ack up to the first record that no snapshot holds."""
        for claim, partition in self._partitions.items():
            if partition.saved_at is None:
                partition.saved_at = now
            age_s = (now - partition.saved_at).total_seconds()
            if age_s < self.settings.snapshot_every_s and partition.taken < self.settings.snapshot_every:
                continue
            partition.saved_at, partition.taken = now, 0
            self._save(step, claim, now)
            if partition.next is not None:
                dirty = (one.dirty_at for one in partition.series.values() if one.dirty_at is not None)
                first = min(dirty, default=partition.next)
                if first != partition.saved:
                    step.acks[claim] = min(first, partition.next)

    def _save(self, step: _Step, claim: Claim, now: datetime) -> None:
        """Snapshots of what changed, longest waiting first, as much as one insert may hold; the rest is due next time."""
        partition, room = self._partitions[claim], self.settings.snapshot_bytes
        waiting = sorted((one.dirty_at, one.name.series, one) for one in partition.series.values() if one.dirty_at is not None)
        for dirty_at, _, series in waiting:
            if room <= 0:
                return
            partition.size_bytes -= series.size_bytes
            series.until = max(series.until, partition.until)
            rows = series.rows(claim, max(series.offset, partition.next or 0), now)
            partition.size_bytes += series.size_bytes
            room -= sum(len(row["data"]) for row in rows)
            series.dirty_at = None
            step.states += rows
            step.saving.append(_Saving(series, dirty_at, series.detector.version))
            step.count("snapshots")
            if series.shown_at is None or (now - series.shown_at).total_seconds() >= self.settings.evidence_every_s:
                series.shown_at = now
                step.quiet += [quiet] if (quiet := series.quiet()) else []


def _usable(opened: Opened[Observation]) -> Opened[Observation]:
    """Set aside what does not fit its kind."""
    events = []
    for placed in opened.events:
        if fault := fault_of(placed.event):
            opened.letters.append(_unusable(placed, fault))
        else:
            events.append(placed)
    return Opened(events, opened.letters)


def _unusable(placed: Placed[Observation], fault: str) -> DeadLetter:
    payload = msgspec.json.encode(placed.event)
    return letter(placed.record, placed.index, payload, reason="unusable", detail=fault, event_id=placed.event.id)
