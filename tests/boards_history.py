"""What becomes of the traffic of `boards_data`: verdicts, incidents, triggers, jobs, promotions, notices, dead letters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from boards_names import Names, Row, instant, iso
from driftwheel_schemas import derived_id


@dataclass(frozen=True)
class History:
    """Ten days up to *now* of a tenant; `examples` are ids of calls."""

    now: datetime
    names: Names
    examples: Sequence[str]

    def tables(self) -> Mapping[str, Sequence[Row]]:
        """Table → its rows; those of a table that keeps revisions are in their order."""
        names = ("verdicts", "incidents", "triggers", "jobs", "promotions", "datasets", "dead_letters", "replays", "outbox", "snoozes")
        return {name: getattr(self, name) for name in names}

    @cached_property
    def verdicts(self) -> list[Row]:
        """Two quiet series twice a day for ten days; two drifted ones, one of them over, said three times each."""
        found = []
        for signal, app in (("latency.seconds", 0), ("error.flag", 1)):
            for step in range(20):
                at = self.now - timedelta(days=10) + step * timedelta(hours=12)
                quiet = {"drifted": False, "evidence": -2 + step / 40, "at": at, "revision": step, "sample_size": 20 * step}
                found.append(self._verdict(app, signal, "conformal", **quiet))
        for signal, app, days, over in (("refusal.flag", 0, 2, False), ("json.valid.flag", 1, 8, True)):
            for revision in range(3):
                at = self.now - timedelta(days=days) + revision * timedelta(minutes=20)
                said: Row = {
                    "drifted": True,
                    "evidence": 1.2 + revision,
                    "at": at,
                    "revision": revision,
                    "sample_size": 200 + 50 * revision,
                }
                said |= {
                    "onset": at - timedelta(hours=2),
                    "onset_accepted_at": at - timedelta(hours=2),
                    "severity": "page",
                    "direction": "up",
                }
                said |= {"baseline": 0.03, "current": 0.15, "resolved_at": at if over and revision == 2 else None}
                found.append(self._verdict(app, signal, "rate", **said))
        return found

    def _verdict(self, app: int, signal: str, detector: str, **said: object) -> Row:
        names = self.names
        segment = f"app={names.apps[app]},model={names.models[0]},prompt_name=faq,prompt_version={names.versions[1]}"
        series = f"{names.tenant}/{signal}{{{segment}}}"
        row: Row = {"tenant": names.tenant, "id": derived_id(series, detector, said["drifted"]), "app": names.apps[app], "signal": signal}
        row |= {"segment": segment, "series": series, "detector": detector, "reference_version": "2026-w40", "level": 1.0}
        row |= {"promise": "at most one false alarm a year and segment", "reason": names.text, "reference_size": 500, "units_to_alarm": 88}
        row |= {"epoch": 0, "accepted_at": said["at"], "examples": list(self.examples), **said}
        return {name: iso(value) if isinstance(value, datetime) else value for name, value in row.items()}

    @cached_property
    def drifted(self) -> list[Row]:
        """The last revision of every drifted verdict: first the one that lasts, then the one that is over."""
        return [one for one in self.verdicts if one["drifted"] and one["revision"] == 2]

    @cached_property
    def incidents(self) -> list[Row]:
        """One open (a page), one resolved, each said more than once."""
        found = []
        for verdict in self.drifted:
            over, opened = verdict["resolved_at"], instant(verdict["onset"]) + timedelta(hours=1)
            row: Row = {"tenant": self.names.tenant, "id": derived_id("incident", verdict["id"]), "app": verdict["app"], "detector": "rate"}
            row |= {"title": f"{verdict['app']}: {verdict['signal']} is up", "reason": self.names.text, "signals": [verdict["signal"]]}
            row |= {"segments": [verdict["segment"]], "verdicts": [verdict["id"]], "onset": verdict["onset"], "opened_at": iso(opened)}
            states: list[Row] = [{"state": "open", "severity": "ticket", "over": []}, {"state": "open", "severity": "page", "over": []}]
            if over:
                states.append(
                    {"state": "resolved", "severity": "page", "over": [verdict["id"]], "resolved_at": over, "resolution": "it is over"}
                )
            for revision, state in enumerate(states):
                changed = iso(opened + revision * timedelta(minutes=30))
                found.append(row | state | {"revision": revision, "changed_at": changed})
        return found

    @cached_property
    def triggers(self) -> list[Row]:
        """One held, then approved, with its jobs; one that waits for a person; one refused."""
        return [
            self._trigger(verdict, policy, state, revision)
            for verdict, policy, states in (
                (self.drifted[1], "retrain", ("held", "pending", "approved")),
                (self.drifted[0], "retrain", ("pending",)),
                (self.drifted[0], "second", ("pending", "refused")),
            )
            for revision, state in enumerate(states)
        ]

    def _trigger(self, verdict: Row, policy: str, state: str, revision: int) -> Row:
        copied = {name: verdict[name] for name in ("tenant", "app", "signal", "segment", "evidence", "level", "onset")}
        at = iso(instant(verdict["at"]) + revision * timedelta(minutes=10))
        row = copied | {"id": derived_id(policy, verdict["id"]), "revision": revision, "policy": policy, "verdict_id": verdict["id"]}
        row |= {"incident_id": derived_id("incident", verdict["id"]), "job": "finetune", "state": state, "reason": self.names.text}
        return row | {"at": at, "accepted_at": at}

    @cached_property
    def jobs(self) -> list[Row]:
        """A fine-tuning that succeeded and its evaluation, one that failed, and one that runs."""
        approved = self.triggers[2]
        begun = instant(approved["at"]) + timedelta(minutes=5)
        done, running = ("requested", "running", "succeeded"), ("requested", "running")
        kinds = (
            ("finetune", 0, done),
            ("evaluate", 1, done),
            ("finetune", 2, ("requested", "running", "failed")),
            ("evaluate", 3, running),
        )
        return [
            {
                "tenant": self.names.tenant,
                "id": derived_id(approved["id"], kind, n),
                "revision": revision,
                "app": approved["app"],
                "trigger_id": approved["id"],
                "kind": kind,
                "state": state,
                "step": "train",
                "progress": revision / 2,
                "detail": self.names.text if state == "failed" else "",
                "params": {"base": self.names.models[2]},
                "dataset_id": "dataset-1",
                "at": iso(begun + timedelta(hours=n, minutes=12 * revision)),
            }
            for kind, n, states in kinds
            for revision, state in enumerate(states)
        ]

    @cached_property
    def promotions(self) -> list[Row]:
        """What the gate held, rejected and promoted, of two apps."""
        found = []
        for n, (decision, estimate) in enumerate((("reject", -0.04), ("hold", 0.05), ("promote", 0.25))):
            row: Row = {
                "tenant": self.names.tenant,
                "id": derived_id(self.names.tenant, "promotion", n),
                "app": self.names.apps[1],
                "decision": decision,
            }
            row |= {"job_id": self.jobs[3]["id"], "trigger_id": self.triggers[2]["id"], "dataset_id": "dataset-1", "metric": "likeness"}
            row |= {
                "candidate": f"{self.names.models[2]}-{n}",
                "champion": self.names.models[0],
                "artifact": "models/1",
                "test": "paired t",
            }
            row |= {
                "estimate": estimate,
                "interval_low": estimate - 0.1,
                "interval_high": estimate + 0.1,
                "confidence": 0.95,
                "p_value": 0.01,
            }
            row |= {"sample_size": 40, "metrics": {"likeness": 0.7}, "reason": self.names.text}
            found.append(row | {"at": iso(self.now - timedelta(days=7 - 3 * n))})
        return found

    @cached_property
    def datasets(self) -> list[Row]:
        """One snapshot."""
        row: Row = {
            "tenant": self.names.tenant,
            "id": "dataset-1",
            "app": self.names.apps[1],
            "job_id": self.jobs[0]["id"],
            "train_rows": 120,
        }
        row |= {"trigger_id": self.triggers[2]["id"], "eval_rows": 40, "heldout_rows": 37, "manifest": "{}"}
        return [row | {"at": iso(self.now - timedelta(days=7))}]

    @cached_property
    def dead_letters(self) -> list[Row]:
        """Twelve, of two reasons, the first three put back."""
        row: Row = {"tenant": self.names.tenant, "topic": "driftwheel.inferences.v1", "partition": 1, "index": 0, "detail": self.names.text}
        row |= {"size_bytes": 100, "sha256": "00", "payload": "e30="}
        return [
            row
            | {"id": derived_id(self.names.tenant, "letter", n), "offset": n, "reason": ("undecodable", "id_conflict")[n % 2]}
            | {"at": iso(self.now - timedelta(hours=2 * n, minutes=1))}
            for n in range(12)
        ]

    @cached_property
    def replays(self) -> list[Row]:
        """Where the first three dead letters were put."""
        return [
            {name: one[name] for name in ("tenant", "topic", "partition", "offset", "at")}
            | {"id": derived_id(one["id"], "replay"), "letter_id": one["id"]}
            for one in self.dead_letters[:3]
        ]

    @cached_property
    def outbox(self) -> list[Row]:
        """Of each incident a notice that landed at the second attempt, and one that was given up; one is due."""
        found = []
        for incident in (one for one in self.incidents if one["revision"] == 0):
            row: Row = {
                "tenant": self.names.tenant,
                "app": incident["app"],
                "kind": "incident.opened",
                "subject": incident["id"],
                "notice": "{}",
            }
            row |= {"decided_at": incident["opened_at"], "due_at": incident["opened_at"]}
            for action, states in (
                ("webhook", ("pending", "pending", "sent")),
                ("apprise", ("pending", "failed")),
                ("alertmanager", ("pending",)),
            ):
                for revision, state in enumerate(states):
                    done = None if state == "pending" else incident["changed_at"]
                    said = {
                        "id": derived_id(incident["id"], action),
                        "action": action,
                        "revision": revision,
                        "state": state,
                        "attempts": revision,
                    }
                    found.append(row | said | {"detail": self.names.text if revision else "", "done_at": done})
        return found

    @cached_property
    def snoozes(self) -> list[Row]:
        """One that holds for another day, one that is over."""
        row: Row = {"tenant": self.names.tenant, "revision": 0, "app": self.names.apps[0], "signal": "latency.seconds", "incident_id": ""}
        return [
            row
            | {
                "id": derived_id(self.names.tenant, "snooze", n),
                "reason": self.names.text,
                "at": iso(at),
                "until": iso(at + timedelta(days=3)),
            }
            for n, at in enumerate((self.now - timedelta(days=2), self.now - timedelta(days=9)))
        ]
