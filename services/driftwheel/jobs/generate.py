"""
Answers questions with a model, greedily and in batches: `python -m driftwheel.jobs.generate RUN_DIR`.

Reads `questions.jsonl` (`{"id", "question"}` a line) and `config.json` (`Generation`), streams each answer as a line on
standard output and leaves `answers.jsonl` (`{"id", "answer"}`).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from driftwheel.jobs.folder import CONFIG, QUESTIONS, Progress, Result, decoded, main, read_lines, say, to_lines, write
from driftwheel.jobs.settings import Generation
from driftwheel.jobs.weights import load

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

ANSWERS = "answers.jsonl"
NLL_BATCH = 10
"""Logits of 10 texts of 60 tokens, 49,152 words and 4 bytes each, are 120 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A line of `questions.jsonl`."""

    id: str
    question: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A line of `answers.jsonl`, and of the champion's answers as production logged them."""

    id: str
    answer: str


class Generator:
    """A model that answers, loaded as production would: the base, and an adapter on it that can be changed."""

    def __init__(self, base: str, adapter: str = "", *, threads: int = 2, batch: int = 32, cache: str = "") -> None:
        import torch

        weights = load(base, threads, cache)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._base, self._tokenizer, self._batch = weights.model.to(self._device), weights.tokenizer, batch
        self._model: PreTrainedModel = self._base
        self._tokenizer.padding_side = "left"
        if adapter:
            self.wear(adapter)

    def wear(self, adapter: str) -> None:
        """Answer with the adapter in folder *adapter* from now on; with the bare base if it is empty."""
        from peft import PeftModel

        if self._model is not self._base:
            self._base = self._model.unload()
        self._model = PeftModel.from_pretrained(self._base, adapter).eval() if adapter else self._base

    def answer(
        self, questions: Sequence[str], max_new_tokens: int = 80, on_answer: Callable[[int, str], None] = lambda _at, _answer: None
    ) -> list[str]:
        """
        The answer to each of *questions*. `on_answer(index, answer)` hears of each as soon as its batch is done.

        Questions of one length go together: a batch takes as long as its longest.
        """
        import torch

        answers = [""] * len(questions)
        order = sorted(range(len(questions)), key=lambda at: len(questions[at]))
        for start in range(0, len(order), self._batch):
            places = order[start : start + self._batch]
            chats = [[{"role": "user", "content": questions[at]}] for at in places]
            encoded = self._tokenizer.apply_chat_template(
                chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
            )
            asked = encoded.to(self._device)
            with torch.inference_mode():
                made = self._model.generate(**asked, max_new_tokens=max_new_tokens, do_sample=False)
            said = self._tokenizer.batch_decode(made[:, asked["input_ids"].shape[1] :], skip_special_tokens=True)
            for at, text in zip(places, said, strict=True):
                answers[at] = text.strip()
                on_answer(at, answers[at])
        return answers

    def surprise(self, pairs: Sequence[tuple[str, str]]) -> float:
        """The negative log-likelihood of the answers in (question, answer) *pairs*, in nats a token."""
        import torch

        total, tokens = 0.0, 0
        for start in range(0, len(pairs), NLL_BATCH):
            inputs, labels = self._labelled(pairs[start : start + NLL_BATCH])
            with torch.inference_mode():
                logits = self._model(**inputs).logits[:, :-1]
            wanted = labels[:, 1:]
            total += float(torch.nn.functional.cross_entropy(logits.transpose(1, 2), wanted, ignore_index=-100, reduction="sum"))
            tokens += int((wanted != -100).sum())
        return total / max(tokens, 1)

    def _labelled(self, pairs: Sequence[tuple[str, str]]) -> tuple[dict[str, "torch.Tensor"], "torch.Tensor"]:
        """Padded tokens of question and answer, and labels that are -100 outside the answer."""
        import torch

        heads, rows = [], []
        for question, answer in pairs:
            chat = [{"role": "user", "content": question}]
            head = self._tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
            whole = self._tokenizer.apply_chat_template([*chat, {"role": "assistant", "content": answer}], tokenize=False)
            heads.append(len(self._tokenizer(head, add_special_tokens=False)["input_ids"]))
            rows.append(self._tokenizer(whole, add_special_tokens=False)["input_ids"])
        width = max(map(len, rows))
        ids, mask, labels = (torch.full((len(rows), width), filler) for filler in (self._tokenizer.pad_token_id, 0, -100))
        for at, (head_size, row) in enumerate(zip(heads, rows, strict=True)):
            ids[at, : len(row)], mask[at, : len(row)] = torch.tensor(row), 1
            labels[at, head_size : len(row)] = torch.tensor(row[head_size:])
        return {"input_ids": ids.to(self._device), "attention_mask": mask.to(self._device)}, labels.to(self._device)


def program(folder: Path) -> Result:
    """Answer what is asked in *folder*."""
    config = decoded(folder / CONFIG, Generation)
    asked = read_lines(folder / QUESTIONS, Asked)
    started = time.monotonic()
    generator = Generator(config.base, config.adapter, threads=config.threads, batch=config.batch, cache=config.cache)
    loaded, done = time.monotonic(), 0

    def tell(at: int, answer: str) -> None:
        nonlocal done
        done += 1
        say(Progress(progress=done / len(asked), step=done), id=asked[at].id, answer=answer)

    answers = generator.answer([row.question for row in asked], config.max_new_tokens, tell)
    write(folder / ANSWERS, to_lines(Answered(id=row.id, answer=answer) for row, answer in zip(asked, answers, strict=True)))
    metrics = {"load.seconds": loaded - started, "answer.seconds": time.monotonic() - loaded, "answers": float(len(answers))}
    return Result(metrics=metrics, artifact_uri=str(folder / ANSWERS), base_model=config.base)


if __name__ == "__main__":
    main(program)
