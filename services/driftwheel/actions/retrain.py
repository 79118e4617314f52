"""Every incident of some apps asks for a job, where no policy is to weigh it."""

from typing import Literal, get_args

import msgspec

from driftwheel.actions import Notice, Reach
from driftwheel.actions.words import line
from driftwheel.errors import ActionFailed, Busy, ConfigError, Reject
from driftwheel_schemas import Incident, Trigger, derived_id

Work = Literal["finetune", "evaluate"]
Approval = Literal["manual", "auto"]
POLICY = "action:retrain"


class Retrain:
    """
    An incident that opens makes one trigger, `pending` or (`approval = "auto"`) `approved`; of anything else nothing follows.

    The trigger's id derives from the incident's, so that a notice told twice starts nothing twice.
    """

    def __init__(self, reach: Reach, *, job: Work = "finetune", approval: Approval = "manual") -> None:
        for name, value, known in (("job", job, get_args(Work)), ("approval", approval, get_args(Approval))):
            if value not in known:
                raise ConfigError(f"{name}: {value!r} is not known; known: {', '.join(known)}")
        if reach.start is None:
            raise ConfigError("retrain: nothing here can start a job; this action works where the triggers role runs")
        self._start, self._job, self._approval = reach.start, job, approval

    def send(self, notice: Notice) -> str:
        """Which trigger it is. Raises `ActionFailed` while the store or the bus takes nothing."""
        if notice.kind != "incident.opened":
            return f"nothing follows from {notice.kind}"
        try:
            trigger = self._trigger(msgspec.convert(notice.data, Incident), notice)
            self._start(trigger)
        except msgspec.ValidationError as wrong:
            raise Reject("no_incident", f"the notice {notice.id} carries no incident: {wrong}") from wrong
        except Busy as later:
            raise ActionFailed(f"the trigger waits: {later}") from later
        return f"trigger {trigger.id} is {trigger.state}"

    def _trigger(self, incident: Incident, notice: Notice) -> Trigger:
        return Trigger(
            id=derived_id("trigger", POLICY, incident.id),
            tenant=incident.tenant,
            app=incident.app,
            policy=POLICY,
            verdict_id=incident.verdicts[0],
            incident_id=incident.id,
            job=self._job,
            state="approved" if self._approval == "auto" else "pending",
            reason=f"the action retrain answers every incident it hears of: {line(incident.title)}",
            signal=incident.signals[0],
            segment=incident.segments[0],
            evidence=0.0,
            level=0.0,
            onset=incident.onset,
            at=notice.at,
            accepted_at=notice.at,
        )
