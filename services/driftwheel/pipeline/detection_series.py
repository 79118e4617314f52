"""One series in the detection worker: its detector, the units it has seen, and its snapshot."""

import math
from array import array
from base64 import b64decode, b64encode
from bisect import bisect_left
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Literal
from zlib import crc32

import msgspec
import numpy as np

from driftwheel.bus import Claim, Record
from driftwheel.detectors import Detector, Finding, load
from driftwheel.detectors.finding import micros
from driftwheel.detectors.frozen import freeze, thaw
from driftwheel.detectors.settings import DetectionSettings
from driftwheel.pipeline import Row
from driftwheel.pipeline.series import instant
from driftwheel_schemas import Observation, Verdict, derived_id

LAYOUT = 2
"""Of a snapshot. One of another layout is not read: the series learns anew, and that is counted."""

OVERHEAD = 8192
"""Bytes that a series takes beside twice its snapshot."""


class Recent:
    """
    The last *limit* units, by a hash of 32 bits. Of 8,192 remembered ones a new unit is mistaken for one in 1 of 520,000
    cases; it is left out then, whatever its value, which harms no promise.

    >>> recent = Recent(2)
    >>> [recent.add(unit) for unit in ("a", "b", "a", "c", "a")]
    [True, True, False, True, True]
    """

    def __init__(self, limit: int, data: bytes = b"") -> None:
        self.limit = limit
        self._arrived = array("I", data)[-limit:]
        self._sorted = array("I", sorted(self._arrived))

    def add(self, unit: str) -> bool:
        """Remember *unit*; False where it is known."""
        key = crc32(unit.encode())
        at = bisect_left(self._sorted, key)
        if at < len(self._sorted) and self._sorted[at] == key:
            return False
        self._sorted.insert(at, key)
        self._arrived.append(key)
        if len(self._arrived) > self.limit:
            del self._sorted[bisect_left(self._sorted, self._arrived.pop(0))]
        return True

    def __bytes__(self) -> bytes:
        return self._arrived.tobytes()


@dataclass(frozen=True, slots=True)
class Name:
    """What a series is called, and the kind and length of what it holds (`length` is of a vector in bytes, else 0)."""

    tenant: str
    app: str
    signal: str
    segment: str
    kind: Literal["number", "flag", "vector", "accept"]
    length: int

    @property
    def series(self) -> str:
        """The key on the bus, as `Observation.series` has it."""
        return f"{self.tenant}/{self.signal}{{{self.segment}}}"


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """The moving part of a series as it is stored; `until` is when the bus took the last record in it (µs)."""

    layout: int
    name: Name
    detector: str
    revision: int
    until: int
    units: bytes
    state: bytes


@dataclass(slots=True)
class Series:
    """
    A series. `offset` and `until` say up to where a snapshot knows it: what comes again from before that is skipped.

    `dirty_at` is the offset of the first record that no snapshot holds, None where all is stored.
    """

    name: Name
    settings: DetectionSettings
    detector_name: str = field(init=False)
    detector: Detector = field(init=False)
    units: Recent = field(init=False)
    offset: int = 0
    until: int = 0
    revision: int = 0
    dirty_at: int | None = None
    version_saved: str = ""
    shown_at: datetime | None = None
    size_bytes: int = OVERHEAD

    def __post_init__(self) -> None:
        self.detector_name = self.settings.detectors[self.name.kind]
        self.detector = load(self.detector_name, self.settings.of(self.name.signal, self.name.kind))
        self.units = Recent(self.settings.units)

    def knows(self, record: Record) -> bool:
        """The snapshot holds *record*. A topic that was created anew has low offsets too, but later times."""
        return record.offset < self.offset and micros(record.appended_at) <= self.until

    def take(self, seen: Observation, offset: int) -> list[Verdict]:
        """The verdicts to be said after *seen*, the first observation of its unit, which lay at *offset*."""
        self.touch(offset)
        self.offset = min(self.offset, offset)  # lower than the snapshot only in a topic that was created anew
        return [self.verdict(self.detector_name, self.detector.finding())] if self.detector.update(seen) else []

    def accept(self, offset: int) -> None:
        """What comes after the record at *offset* is the new baseline."""
        self.touch(offset)
        self.detector.accept()

    def touch(self, offset: int) -> None:
        """The record at *offset*, or something before it, changed the series."""
        self.dirty_at = offset if self.dirty_at is None else min(offset, self.dirty_at)

    def holds(self, seen: Observation) -> bool:
        """*seen* is of the kind, and a vector of the length, that this series holds."""
        return self.name.kind == seen.kind and self.name.length == len(seen.vector or b"")

    def quiet(self) -> Verdict | None:
        """What the detector says now, None while its alarm stands: that was said."""
        found = self.detector.finding()
        return None if found.drifted else self.verdict(self.detector_name, found)

    def verdict(self, detector: str, found: Finding) -> Verdict:
        """
        *found*, said of this series.

        One id has drifted revisions from 0 on, which double a sample and so stay below 64, and quiet ones, which are
        counts of units and at least the reference, 64 or more: the two never meet.
        """
        name = self.name
        known = {one.name: getattr(found, one.name) for one in fields(found) if one.name not in {"version", "reason", "stated"}}
        return Verdict(
            id=derived_id(name.series, detector, found.version, found.epoch),
            tenant=name.tenant,
            app=name.app,
            signal=name.signal,
            segment=name.segment,
            series=name.series,
            detector=detector,
            reference_version=found.version,
            reason=f"{name.signal} of {name.segment}: {found.reason}",
            severity="page" if found.drifted and name.kind != "vector" and found.stated else "ticket",
            **known,
        )

    def rows(self, claim: Claim, offset: int, now: datetime) -> list[Row]:
        """
        The snapshot before *offset*: the reference where it is new, and the moving part.

        They belong in one insert, which lands as a whole, so that no state is stored without its reference.
        """
        detector = self.detector
        self.revision = max(offset, self.revision + 1)  # also where a topic was created anew and its offsets are low
        snapshot = _Snapshot(
            LAYOUT,
            self.name,
            self.detector_name,
            self.revision,
            self.until,
            bytes(self.units),
            detector.state(),
        )
        parts = [("state", str(offset), freeze(snapshot))]
        if detector.version != self.version_saved and detector.version:
            parts.insert(0, ("reference", detector.version, detector.reference()))
        self.size_bytes = size_of(detector.reference(), parts[-1][2])
        return [
            {
                "id": derived_id(claim.topic, claim.partition, self.name.series, part, version),
                "partition": claim.partition,
                "series": self.name.series,
                "part": part,
                "digest": detector.version,
                "offset": offset,
                "revision": self.revision,
                "data": b64encode(data).decode(),
                "accepted_at": instant(now),
            }
            for part, version, data in parts
        ]


def size_of(reference: bytes, state: bytes) -> int:
    """About what a series takes in memory, in bytes: its arrays are twice what is stored, sorted or as float32."""
    return OVERHEAD + 2 * (len(reference) + len(state))


def fault_of(seen: Observation) -> str:
    """Why *seen* cannot be used, empty if it can: its value must fit its kind, and its times must have a zone."""
    if seen.at.tzinfo is None or seen.accepted_at.tzinfo is None:
        return "times need a time zone, as in 2026-01-02T03:04:05Z"
    if seen.kind == "accept":
        return ""
    if seen.kind == "vector":
        data = seen.vector or b""
        if not data or len(data) % 2:
            return "a vector needs two bytes a dimension"
        return "a vector needs finite numbers" if (np.frombuffer(data, "<u2") & 0x7F80 == 0x7F80).any() else ""
    if seen.value is None or not math.isfinite(seen.value):
        return f"a {seen.kind} needs a finite value"
    return f"a flag is 0 or 1, not {seen.value:g}" if seen.kind == "flag" and seen.value not in {0.0, 1.0} else ""


def name_of(seen: Observation) -> Name:
    """The name of the series of *seen*."""
    return Name(seen.tenant, seen.app, seen.signal, seen.segment, seen.kind, len(seen.vector or b""))


def restored(state: Row, reference: Row | None, settings: DetectionSettings) -> Series | None:
    """The series of a stored snapshot; None where it cannot be read (another layout or detector, a lost reference)."""
    digest = state["digest"]
    if digest and (not reference or reference["digest"] != digest):
        return None
    fixed = b64decode(reference["data"]) if digest and reference else b""
    try:
        snapshot = thaw(b64decode(state["data"]), _Snapshot)
        series = Series(snapshot.name, settings)
        if (snapshot.layout, snapshot.detector) != (LAYOUT, series.detector_name):
            return None
        series.detector.restore(fixed, snapshot.state)
    except (msgspec.DecodeError, ValueError):  # what is no state at all, or one of another release
        return None
    series.units = Recent(settings.units, snapshot.units)
    series.offset, series.until, series.revision = int(state["offset"]), snapshot.until, snapshot.revision
    series.version_saved = digest
    series.size_bytes = size_of(fixed, snapshot.state)
    return series


def row_of(verdict: Verdict) -> Row:
    """*verdict* as a row of `verdicts`: its fields, and times as the store reads them."""
    row = {one.name: getattr(verdict, one.name) for one in fields(verdict)}
    times = {key: instant(value) for key, value in row.items() if isinstance(value, datetime)}
    return row | times | {"examples": list(verdict.examples)}
