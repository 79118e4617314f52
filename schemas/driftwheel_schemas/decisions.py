"""The events that say and decide: verdicts, incidents, triggers, jobs, promotions. See `events.py` for what they have in common."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Flat = Mapping[str, str]
"""A small map of labels; the collector bounds it to 64 keys of 64 characters and values of 1,024."""

Severity = Literal["page", "ticket"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """
    What a detector says of a series. `id` is uuid5(series, detector, reference version, epoch).

    `evidence` is log10 of the e-detector (or the statistic of a rule) and `level` is where it alarms.
    `promise` says in words what the level stands for. A verdict may be said again with a higher `revision`
    while its sample grows; its id stays. `resolved_at` says that a drift is over.
    `baseline` and `current` are the means (number), shares (flag) or mean distances (vector) before and since `onset`.
    `severity`: a `page` may wake somebody, a `ticket` waits for the morning.
    """

    id: str
    tenant: str = "default"
    app: str
    signal: str
    segment: str
    series: str
    detector: str
    reference_version: str
    epoch: int
    revision: int = 0
    drifted: bool
    evidence: float
    level: float
    promise: str
    at: datetime
    accepted_at: datetime
    onset: datetime | None = None
    onset_accepted_at: datetime | None = None
    direction: Literal["up", "down", "other"] = "other"
    baseline: float | None = None
    current: float | None = None
    sample_size: int = 0
    reference_size: int = 0
    units_to_alarm: int = 0
    reason: str = ""
    examples: tuple[str, ...] = ()
    severity: Severity = "ticket"
    resolved_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """
    What a person is told of: verdicts of one app and one onset. `id` is uuid5 of the first verdict's id.

    `verdicts` are the ids of its verdicts and `over` those of them that are over; with the last one the incident is
    `resolved`. Said again, with a higher `revision`, as it grows, gets more severe, or ends. `reason` is that of the
    verdict that opened it, `resolution` says why it is over.
    """

    id: str
    tenant: str = "default"
    app: str
    state: Literal["open", "resolved"]
    severity: Severity
    revision: int = 0
    title: str
    reason: str
    signals: tuple[str, ...]
    segments: tuple[str, ...]
    verdicts: tuple[str, ...]
    over: tuple[str, ...] = ()
    detector: str
    onset: datetime | None = None
    opened_at: datetime
    changed_at: datetime
    resolved_at: datetime | None = None
    resolution: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """
    A policy's decision over one verdict. `id` is uuid5(policy, verdict id).

    `held` says why nothing starts (yet); `pending` waits for a person; `approved` starts the job.
    """

    id: str
    tenant: str = "default"
    app: str
    policy: str
    verdict_id: str
    incident_id: str
    job: Literal["finetune", "evaluate"]
    state: Literal["held", "pending", "approved", "refused"]
    revision: int = 0
    reason: str
    signal: str
    segment: str
    evidence: float
    level: float
    onset: datetime | None = None
    at: datetime
    accepted_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A fine-tuning or an evaluation. `id` is uuid5(trigger id, kind). Said again as its state moves on."""

    id: str
    tenant: str = "default"
    app: str
    trigger_id: str
    kind: Literal["finetune", "evaluate"]
    state: Literal["requested", "running", "succeeded", "failed"]
    revision: int = 0
    step: str = ""
    progress: float = 0.0
    detail: str = ""
    params: Flat = field(default_factory=dict)
    dataset_id: str = ""
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """
    The gate's decision: candidate against champion, with the test that says so. `id` is uuid5(job id).

    `estimate` is the mean paired difference candidate - champion of `metric`, with its confidence interval.
    """

    id: str
    tenant: str = "default"
    app: str
    job_id: str
    trigger_id: str
    dataset_id: str
    decision: Literal["promote", "hold", "reject"]
    candidate: str
    champion: str
    artifact: str
    metric: str
    test: str
    estimate: float
    interval_low: float
    interval_high: float
    confidence: float
    p_value: float
    sample_size: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    reason: str
    at: datetime
