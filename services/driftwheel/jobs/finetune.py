"""
Fine-tunes a model with LoRA on `train.jsonl`: `python -m driftwheel.jobs.finetune RUN_DIR`.

`config.json` is `TrainingSettings`. Leaves `adapter/` with the adapter and its tokenizer (special tokens are aligned
here, so the two belong together), and the loss curve, times, versions and peak memory in the result.
"""

import math
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from driftwheel.errors import LauncherError
from driftwheel.jobs.dataset import Line, Manifest
from driftwheel.jobs.folder import CONFIG, MANIFEST, Progress, Result, decoded, main, read_lines, say
from driftwheel.jobs.promote import artifact_digest
from driftwheel.jobs.settings import TrainingSettings
from driftwheel.jobs.weights import Weights, load

if TYPE_CHECKING:
    from datasets import Dataset as Rows
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

ADAPTER = "adapter"
LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")
LOADED = 0.1
"""The share of the way when the model is loaded; the steps share what is left up to 0.95."""


def program(folder: Path) -> Result:
    """Train on what lies in *folder*."""
    config = decoded(folder / CONFIG, TrainingSettings)
    manifest = decoded(folder / MANIFEST, Manifest)
    say(Progress(progress=0.0, note=f"loading {config.base}"))
    weights = load(config.base, config.threads, config.cache)
    trainer = _trainer(folder, weights, config)
    say(Progress(progress=LOADED, note="training"))
    started = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - started
    valid = trainer.evaluate()["eval_loss"] if trainer.eval_dataset is not None else None
    _save(trainer, weights, config, folder / ADAPTER)
    curve = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    if not all(map(math.isfinite, curve)):
        raise LauncherError(f"jobs.training.learning_rate: the loss ran away with {config.learning_rate:g}; take a smaller one")
    metrics = {
        "train.seconds": seconds,
        "train.steps": float(trainer.state.global_step),
        "train.rows": float(manifest.files["train.jsonl"].rows),
    }
    metrics |= {"train.loss.first": curve[0], "train.loss.last": curve[-1], "train.peak_rss.mib": peak_rss_mib()}
    metrics |= {"train.cut_rows": float(_cut(folder, weights, config))} | ({"valid.loss": valid} if valid is not None else {})
    return Result(
        metrics=metrics,
        artifact_uri=str(folder / ADAPTER),
        artifact_digest=artifact_digest(folder / ADAPTER),
        base_model=config.base,
        dataset_id=manifest.dataset_id,
        details={"loss": curve, "versions": {name: version(name) for name in LIBRARIES}},
    )


def peak_rss_mib() -> float:
    """The most memory this process ever held, in MiB; `ru_maxrss` is KiB on Linux and bytes on macOS."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1024 * 1024 if sys.platform == "darwin" else 1024)


def _trainer(folder: Path, weights: Weights, config: TrainingSettings) -> "SFTTrainer":
    from peft import LoraConfig
    from trl import SFTTrainer

    valid = _rows(folder / "valid.jsonl")
    return SFTTrainer(
        model=weights.model,
        args=_arguments(folder, config),
        train_dataset=_rows(folder / "train.jsonl"),
        eval_dataset=valid if len(valid) else None,
        processing_class=weights.tokenizer,
        peft_config=LoraConfig(
            r=config.rank, lora_alpha=config.alpha, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
        callbacks=[_teller(config.steps)],
    )


def _arguments(folder: Path, config: TrainingSettings) -> "SFTConfig":
    from trl import SFTConfig

    return SFTConfig(
        output_dir=str(folder / "trainer"),
        max_steps=config.steps,
        per_device_train_batch_size=config.batch,
        per_device_eval_batch_size=config.batch,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=config.warmup_steps,
        max_length=config.max_length,
        seed=config.seed,
        data_seed=config.seed,
        bf16=False,
        gradient_checkpointing=False,  # TRL's default is on: 20 % slower on CPU, and generation after it is garbage
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )


def _rows(path: Path) -> "Rows":
    import datasets

    datasets.disable_progress_bars()
    lines = read_lines(path, Line)
    chats = [{"prompt": [_turn(line.question, "user")], "completion": [_turn(line.reference, "assistant")]} for line in lines]
    return datasets.Dataset.from_list(chats)


def _turn(content: str, role: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _teller(steps: int) -> "TrainerCallback":
    from transformers import TrainerCallback, TrainerState

    class Teller(TrainerCallback):  # type: ignore[misc]  # transformers is not checked
        """Says after each step how far the training is."""

        started = time.monotonic()

        def on_train_begin(self, *_: object, **__: object) -> None:
            self.started = time.monotonic()

        def on_log(self, _args: object, state: TrainerState, _control: object, logs: dict[str, float], **_: object) -> None:
            if "loss" in logs:
                left = (time.monotonic() - self.started) / state.global_step * (steps - state.global_step)
                share = LOADED + (0.95 - LOADED) * state.global_step / steps
                say(Progress(progress=round(share, 4), step=state.global_step, loss=logs["loss"], eta_s=round(left, 1)))

    return Teller()


def _save(trainer: "SFTTrainer", weights: Weights, config: TrainingSettings, adapter: Path) -> None:
    """Adapter and tokenizer; the base is named as the settings do, not as a folder of this machine."""
    model = trainer.model
    model.peft_config["default"].base_model_name_or_path = config.base
    model.save_pretrained(adapter, save_embedding_layers=False)  # "auto" would look our base's name up on the hub
    weights.tokenizer.save_pretrained(adapter)


def _cut(folder: Path, weights: Weights, config: TrainingSettings) -> int:
    """How many rows were longer than `max_length`: of those the end of the answer was not learned."""
    chats = [[_turn(line.question, "user"), _turn(line.reference, "assistant")] for line in read_lines(folder / "train.jsonl", Line)]
    texts = weights.tokenizer.apply_chat_template(chats, tokenize=False)
    return sum(len(ids) > config.max_length for ids in weights.tokenizer(texts, add_special_tokens=False)["input_ids"])


if __name__ == "__main__":
    main(program)
