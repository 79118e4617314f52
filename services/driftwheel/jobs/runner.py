"""
The way of a job: dataset → finetune → evaluate → gate → promote, said step by step as `Job` events.

Every step leaves what it made in the job's folder, so after a crash the same call goes on at the first step that is not
finished, and says the same ids: a job is uuid5(trigger, kind), a dataset is named by its content, a promotion is
uuid5(job). The world comes in as callables (`Outside`); nothing here imports a training library.
"""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import msgspec

from driftwheel.errors import LauncherError
from driftwheel.jobs import gate
from driftwheel.jobs.dataset import SIDES, Dataset, Line, Manifest, Side, build, general
from driftwheel.jobs.folder import CHAMPION_ANSWERS, CONFIG, MANIFEST, Progress, Result, decoded, finished, read_lines, to_lines, write
from driftwheel.jobs.launchers import Run
from driftwheel.jobs.outside import Outside, Snapshot
from driftwheel.jobs.promote import Champion, candidate_name, install
from driftwheel.jobs.settings import Comparison, Contender, EvaluationSettings, JobSettings, TrainingSettings
from driftwheel_schemas import Job, Promotion, Trigger, derived_id

State = Literal["requested", "running", "succeeded", "failed"]
JOB, PROMOTION = "job.json", "promotion.json"
SHARES = {"dataset": (0.0, 0.02), "finetune": (0.02, 0.7), "evaluate": (0.7, 0.97), "gate": (0.97, 0.99), "promote": (0.99, 1.0)}
"""Where on the way of a whole job each step begins and ends."""
TOLD_EVERY = 0.01
"""A job says at most about a hundred revisions of its progress, however talkative its programs are."""


def job_id(trigger: Trigger) -> str:
    """The id of the job that *trigger* starts."""
    return derived_id(trigger.id, trigger.job)


def run_job(trigger: Trigger, *, outside: Outside, data: Path, settings: JobSettings, retry: bool = False) -> Job:
    """
    Run the job of *trigger* to its end, or on from where it was left; returns its last state.

    Works in `data/jobs/<job id>`, promotes into `data/models`. A job that ended is said again and not run again,
    unless it failed and *retry* is set. What goes wrong in a program or for want of data makes the job `failed`,
    with the reason in its `detail`; what `outside` raises passes through, and the job can be resumed.
    """
    course = _Course(trigger, outside, data, settings)
    if (ended := course.ended(retry=retry)) is not None:
        return ended
    try:
        dataset = course.dataset()
        if trigger.job == "evaluate":
            result = course.evaluate(dataset, None)
            return course.say("evaluate", 1.0, _verdict_on(result), state="succeeded")
        tuned = course.finetune(dataset)
        compared = course.evaluate(dataset, tuned)
        promotion = course.promotion(dataset, tuned, compared)
    except LauncherError as wrong:
        return course.say(course.job.step, course.job.progress, str(wrong), state="failed")
    outside.emit(promotion)
    return course.say("promote", 1.0, promotion.reason, state="succeeded")


class _Course:
    """One job on its way. Its last word lies in `job.json` before it is said, so revisions grow across crashes."""

    def __init__(self, trigger: Trigger, outside: Outside, data: Path, settings: JobSettings) -> None:
        self._trigger, self._outside = trigger, outside
        self._settings = replace(
            settings, training=replace(settings.training, cache=settings.training.cache or str(data / "models" / ".base"))
        )
        self._models, self._folder = data / "models", data / "jobs" / job_id(trigger)
        known = self._folder / JOB
        self.job = decoded(known, Job) if known.exists() else self._first()

    def ended(self, *, retry: bool) -> Job | None:
        """The job, said again, if it came to its end earlier."""
        if self.job.state not in {"succeeded", "failed"} or (retry and self.job.state == "failed"):
            return None
        if (self._folder / PROMOTION).exists():
            self._outside.emit(decoded(self._folder / PROMOTION, Promotion))
        self._outside.emit(self.job)
        return self.job

    def say(self, step: str, progress: float, detail: str, *, state: State = "running") -> Job:
        """Say where the job stands; *progress* is of the whole."""
        self.job = replace(
            self.job,
            state=state,
            revision=self.job.revision + 1,
            step=step,
            progress=round(progress, 4),
            detail=detail,
            at=self._outside.clock(),
        )
        write(self._folder / JOB, msgspec.json.encode(self.job))
        self._outside.emit(self.job)
        return self.job

    def dataset(self) -> Manifest:
        """Build the dataset once, and keep it: asked again, the world might give other examples."""
        folder = self._folder / "dataset"
        fresh = not (folder / MANIFEST).exists()
        if fresh:
            self.say("dataset", SHARES["dataset"][0], "collecting what people said")
            built = build(self._outside.examples(self._trigger), self._settings.dataset, general("replay"))
            _enough(built, self._settings.dataset.min_examples)
            built.write(folder)
        manifest = decoded(folder / MANIFEST, Manifest)
        rows = {side: manifest.files[f"{side}.jsonl"].rows for side in SIDES}
        self.job = replace(self.job, dataset_id=manifest.dataset_id)
        self._outside.emit(self._snapshot(manifest, rows))
        if fresh:
            counts = ", ".join(f"{count} {side}" for side, count in rows.items())
            self.say("dataset", SHARES["dataset"][1], f"{manifest.dataset_id}: {counts}")
        return manifest

    def finetune(self, manifest: Manifest) -> Result:
        """Train, in the launcher."""
        training = self._settings.training
        folder = self._prepared("finetune", manifest, training)
        run = _run("driftwheel.jobs.finetune", folder, training)
        return self._launched("finetune", run, f"training {training.base}")

    def evaluate(self, manifest: Manifest, tuned: Result | None) -> Result:
        """Compare, in the launcher; against whom is decided once and kept."""
        folder, settings = self._folder / "evaluate", self._settings.evaluation
        candidate = Contender(name=candidate_name(tuned.base_model, tuned.artifact_digest), adapter=tuned.artifact_uri) if tuned else None
        if not (folder / CONFIG).exists() or decoded(folder / CONFIG, Comparison).candidate != candidate:
            tested = [line for side in ("eval", "heldout") for line in read_lines(self._folder / "dataset" / f"{side}.jsonl", Line)]
            observed = [line for line in tested if self._now(line)]
            champion = self._contender(self._outside.champion(self._trigger), observed)
            answers = [{"id": line.id, "answer": line.observed} for line in observed if line.observed_model == champion.name]
            write(folder / CHAMPION_ANSWERS, to_lines(answers if champion.logged else ()))
            base, cache = self._settings.training.base, self._settings.training.cache
            sides = Comparison(base=base, champion=champion, candidate=candidate, settings=settings, cache=cache)
            self._prepared("evaluate", manifest, sides)
        return self._launched("evaluate", _run("driftwheel.jobs.evaluate", folder, settings), "comparing answers")

    def promotion(self, manifest: Manifest, tuned: Result, compared: Result) -> Promotion:
        """Ask the gate once, and carry out what it says."""
        path = self._folder / PROMOTION
        if path.exists():
            return decoded(path, Promotion)
        self.say("gate", SHARES["gate"][0], "judging the candidate")
        sides = decoded(self._folder / "evaluate" / CONFIG, Comparison)
        champion, candidate = sides.champion.name, sides.candidate.name if sides.candidate else ""
        decision = self._decision(compared)
        artifact = Path(tuned.artifact_uri)
        if decision.decision == "promote":
            self.say("promote", SHARES["promote"][0], f"{candidate} becomes the champion of {self.job.app}")
            artifact = install(artifact, self._models, self.job.app, candidate)
        made = Promotion(
            id=derived_id(self.job.id),
            tenant=self.job.tenant,
            app=self.job.app,
            job_id=self.job.id,
            trigger_id=self._trigger.id,
            dataset_id=manifest.dataset_id,
            candidate=candidate,
            champion=champion,
            artifact=str(artifact),
            metric=self._settings.gate.metric,
            test=gate.TEST,
            metrics={**tuned.metrics, **compared.metrics},
            at=self._outside.clock(),
            **asdict(decision),
        )
        write(path, msgspec.json.encode(made))
        return made

    def _decision(self, compared: Result) -> gate.Decision:
        rows = read_lines(self._folder / "evaluate" / "scores.jsonl", _Scores)
        champion, candidate = gate.paired([row.scores for row in rows if row.side == "eval"], self._settings.gate.metric)
        return gate.decide(champion, candidate, compared.metrics.get("general.forgetting", float("nan")), self._settings.gate)

    def _contender(self, champion: Champion | None, observed: Sequence[Line]) -> Contender:
        """
        The champion as it can be asked: its adapter on our base, the bare base, or what production logged of it.

        Where no one named a champion, it is the model that gave most of the answers observed since the onset.
        """
        if champion is None:
            models = Counter(line.observed_model for line in observed).most_common(1)
            return Contender(name=models[0][0] if models else "", logged=True)
        logged = not champion.artifact and champion.model != self._settings.training.base
        return Contender(name=champion.model, adapter=champion.artifact, logged=logged)

    def _now(self, line: Line) -> bool:
        """Whether production answered so since the onset: what it said before says nothing of the model that it is now."""
        onset = self._trigger.onset
        return onset is None or line.observed_at is None or line.observed_at >= onset

    def _prepared(self, step: str, manifest: Manifest, config: object) -> Path:
        """The run folder of *step*: the files of the dataset and, last, its config.json."""
        folder = self._folder / step
        folder.mkdir(parents=True, exist_ok=True)
        for name in (*manifest.files, MANIFEST):
            shutil.copyfile(self._folder / "dataset" / name, folder / name)
        write(folder / CONFIG, msgspec.json.format(msgspec.json.encode(config)) + b"\n")
        return folder

    def _launched(self, step: str, run: Run, doing: str) -> Result:
        if (done := finished(run.folder)) is not None:
            return done
        begin, end = SHARES[step]
        self.say(step, begin, doing)

        def on_progress(progress: Progress) -> None:
            whole = begin + (end - begin) * min(max(progress.progress, 0.0), 1.0)
            if whole >= self.job.progress + TOLD_EVERY:
                self.say(step, whole, _words(progress, doing))

        result = self._outside.launcher.run(run, on_progress)
        self.say(step, end, f"{doing}: done")
        return result

    def _first(self) -> Job:
        trigger = self._trigger
        return Job(
            id=job_id(trigger),
            tenant=trigger.tenant,
            app=trigger.app,
            trigger_id=trigger.id,
            kind=trigger.job,
            state="requested",
            params={"base": self._settings.training.base},
            at=self._outside.clock(),
        )

    def _snapshot(self, manifest: Manifest, rows: Mapping[Side, int]) -> Snapshot:
        return Snapshot(
            id=manifest.dataset_id,
            tenant=self.job.tenant,
            app=self.job.app,
            job_id=self.job.id,
            trigger_id=self._trigger.id,
            train_rows=rows["train"],
            eval_rows=rows["eval"],
            heldout_rows=rows["heldout"],
            manifest=msgspec.json.encode(manifest).decode(),
            at=self.job.at,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scores:
    """What the gate reads of a line of `scores.jsonl`."""

    side: str
    scores: Mapping[str, float]


def _run(module: str, folder: Path, settings: TrainingSettings | EvaluationSettings) -> Run:
    return Run(module=module, folder=folder, timeout_s=settings.timeout_s, memory_gib=settings.memory_gib, disk_gib=settings.disk_gib)


def _enough(dataset: Dataset, least: int) -> None:
    """Raises `LauncherError` when there is too little to learn from, saying what became of the rest."""
    manifest = dataset.manifest
    kept = sum(count for source, count in manifest.sources.items() if source != "replay")
    if kept < least:
        left_out = ", ".join(f"{reason} {excluded.rows}" for reason, excluded in manifest.excluded.items()) or "none"
        raise LauncherError(
            f"jobs.dataset.min_examples: {kept} usable examples of {manifest.read}, at least {least} are needed (left out: {left_out}); "
            "collect more feedback and corrections, or lower min_examples"
        )


def _words(progress: Progress, doing: str) -> str:
    said = [progress.note or doing]
    said += [f"step {progress.step}"] if progress.step else []
    said += [f"loss {progress.loss:.2f}"] if progress.loss is not None else []
    said += [f"{progress.eta_s:.0f} s left"] if progress.eta_s is not None else []
    return ", ".join(said)


def _verdict_on(result: Result) -> str:
    metrics = result.metrics
    scores = [f"{name} {metrics[f'eval.champion.{name}']:.3f}" for name in ("similarity", "f1") if f"eval.champion.{name}" in metrics]
    return f"the champion on {metrics.get('eval.questions', 0):.0f} questions: {', '.join(scores) or 'no answers to score'}"
