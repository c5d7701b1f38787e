"""Check a model folder before trusting it: libraries build random weights and five-word tokenizers without a word.

Measured on open_clip 3.3 and transformers 5 (FACTS: open_clip, BiomedCLIP, MiniLM): missing weights give a random
model, missing tokenizer files give a tokenizer of the special tokens alone, both silently.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from nnunetv2_textguided.errors import EncoderError
from nnunetv2_textguided.files import file_sha256, read_json, visible

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt")
"""Either one holds a tokenizer's vocabulary."""
_TOKENIZER_EXTRAS = ("tokenizer_config.json", "special_tokens_map.json")
_FETCH = "Fetch the whole folder again, or copy it completely (docs/text.md)."


def read_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """The JSON object in `folder`/`name`.

    Raises:
        EncoderError: it is missing, damaged or no object.
    """
    config = read_json(require_file(folder, name), error=EncoderError)
    if not isinstance(config, dict):
        raise EncoderError("A model's config must be a JSON object.", where=folder / name, remedy=_FETCH)
    return config


def require_file(folder: Path, *names: str) -> Path:
    """The first of `names` that exists in `folder`.

    Raises:
        EncoderError: none does; a weight file that only unpickling could read is named as such.
    """
    if not folder.is_dir():
        raise EncoderError("The folder does not exist.", where=folder, remedy="Check the path.")
    for name in names:
        path = folder / name
        if path.is_file() and path.stat().st_size > 0:
            return path
    pickled = [p.name for p in visible(folder) if p.suffix in (".bin", ".pt", ".pth", ".ckpt")]
    if pickled and names[0].endswith(".safetensors"):
        raise EncoderError(
            f"The weights are only there as pickles ({', '.join(pickled)}), which can execute code and are not read.",
            where=folder,
            remedy="Get the model's .safetensors file, or convert it where you trust it.",
        )
    raise EncoderError(f"The model folder has no {' or '.join(names)}.", where=folder, remedy=_FETCH)


def folder_hashes(config: Path, weights: Path, tokenizer_folder: Path) -> dict[str, str]:
    """SHA-256 of the files that decide what the encoder says, by file name."""
    extras = [tokenizer_folder / n for n in (*TOKENIZER_FILES, *_TOKENIZER_EXTRAS)]
    files = [config, weights, *(p for p in extras if p.is_file())]
    return {path.name: file_sha256(path) for path in files}


def load_tokenizer(folder: Path, vocabulary: int) -> Any:
    """The Hugging Face tokenizer of `folder`, checked against the vocabulary size of the model's config.

    Raises:
        EncoderError: its files are missing or it knows other tokens than the model.
    """
    from transformers import AutoTokenizer

    require_file(folder, *TOKENIZER_FILES)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise EncoderError(f"The tokenizer cannot be read: {e}.", where=folder, remedy=_FETCH) from e
    check_tokenizer(tokenizer, vocabulary, folder)
    return tokenizer


def check_tokenizer(tokenizer: Any, vocabulary: int, folder: Path) -> None:
    """Refuse a tokenizer that knows other tokens than the model.

    Raises:
        EncoderError: its size is not that of the vocabulary.
    """
    # Vocabularies are padded to round numbers by some models, by less than 1 %; never the other way round.
    if not 0 <= vocabulary - len(tokenizer) <= vocabulary // 100:
        raise EncoderError(
            f"The tokenizer knows {len(tokenizer)} tokens, but the model's config says {vocabulary}.",
            where=folder,
            remedy=f"The tokenizer's files are incomplete or belong to another model. {_FETCH}",
        )


def check_keys(
    missing: Iterable[str],
    unexpected: Iterable[str],
    allowed_missing: Sequence[str],
    allowed_unexpected: Sequence[str],
    where: Path,
) -> None:
    """Refuse weights that leave a part of the model at its random initialisation, or that are another model's.

    Raises:
        EncoderError: a key is missing or left over that contains none of the allowed words.
    """
    lost = sorted(k for k in missing if not any(a in k for a in allowed_missing))
    left = sorted(k for k in unexpected if not any(a in k for a in allowed_unexpected))
    if lost or left:
        problem = f"lack {len(lost)} tensors ({', '.join(lost[:3])})" if lost else ""
        extra = f"have {len(left)} unknown tensors ({', '.join(left[:3])})" if left else ""
        raise EncoderError(
            f"The weights do not fit the model: they {' and '.join(p for p in (problem, extra) if p)}.",
            where=where,
            remedy=f"Weights and config belong to different models, or the file is damaged. {_FETCH}",
        )
