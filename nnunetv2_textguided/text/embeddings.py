"""Text embeddings and the one file format that carries them from `encode` to training.

A `.safetensors` file (no pickle) with the tensors

    pooled        (K, D)  float32 or float16: one L2-normalised embedding per prompt
    tokens        (N, T)  float32 or float16, optional: all unpadded tokens of all prompts, one after the other
    token_prompt  (N,)    int32, with tokens: the prompt that each token belongs to
    phrase        (P, D)  float32 or float16, optional: one L2-normalised embedding per location phrase
    sentence      (S, D)  float32 or float16, optional: one per sentence of the data set's case text
    phrase_tokens, sentence_tokens    (N, T) float16, optional: all tokens of these, one after the other
    phrase_lengths, sentence_lengths  (P,) or (S,) int32, with them: how many tokens each has

and, in its metadata, the prompt bank, phrases and sentences, the provenance and a hash of all of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_textguided.errors import EmbeddingFileError, PromptBankError
from nnunetv2_textguided.files import atomic_path, parse_json
from nnunetv2_textguided.text.bank import PromptBank
from nnunetv2_textguided.text.sentence_table import SentenceTable

FORMAT = "nnunetv2_textguided.text_embeddings"
FORMAT_VERSION = 1
MAX_BYTES = 512 << 20
"""Larger files are neither written nor read."""
ENCODER_KEYS = ("id", "revision", "licence", "pooling", "normalisation", "sha256")
"""What the provenance must say about the encoder: together, its identity."""

_ENTRY = "text_embeddings"
_REMEDY = "Write the file anew with `nnUNetv2_textguided encode`."
_FLOATS = ("F32", "F16")
ROLES = ("phrase", "sentence")
"""Tables of sentences that a file may have beside its prompts."""
_DTYPES = {"pooled": _FLOATS, "tokens": _FLOATS, "token_prompt": ("I32",), **dict.fromkeys(ROLES, _FLOATS)}
_DTYPES |= {f"{role}_tokens": _FLOATS for role in ROLES} | {f"{role}_lengths": ("I32",) for role in ROLES}


@dataclass(frozen=True)
class TextEmbeddings:
    """Embeddings of a prompt bank.

    Args:
        bank: the prompts, in the order of the rows of `pooled`.
        pooled: (K, D) float32, L2-normalised rows.
        tokens: (N, T) float32, all unpadded tokens of all prompts; None if they were not kept.
        token_prompt: (N,) int64, the prompt (row of `pooled`) of each token, ascending.
        provenance: JSON values; provenance["encoder"] has the keys ENCODER_KEYS.
        tables: by role (one of ROLES), sentences that are no prompts, embedded by the same encoder.

    Raises:
        EmbeddingFileError: shapes, norms or indices contradict each other.
    """

    bank: PromptBank
    pooled: np.ndarray
    tokens: np.ndarray | None = None
    token_prompt: np.ndarray | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    tables: Mapping[str, SentenceTable] = field(default_factory=dict)

    def __post_init__(self) -> None:
        encoder = self.provenance.get("encoder")
        missing = [k for k in ENCODER_KEYS if not isinstance(encoder, dict) or k not in encoder]
        _require(not missing, f"The provenance does not state the encoder's {', '.join(missing)}.")
        object.__setattr__(self, "pooled", _unit_rows(self.pooled, "pooled"))
        count = len(self.bank.prompts)
        _require(len(self.pooled) == count and count > 0, f"{count} prompts but {len(self.pooled)} rows of 'pooled'.")
        tables = {role: _checked(role, table, self.pooled.shape[1]) for role, table in self.tables.items()}
        object.__setattr__(self, "tables", tables)
        _require((self.tokens is None) == (self.token_prompt is None), "'tokens' and 'token_prompt' belong together.")
        if self.tokens is None or self.token_prompt is None:
            return
        tokens, index = np.asarray(self.tokens, dtype=np.float32), np.asarray(self.token_prompt, dtype=np.int64)
        _require(tokens.ndim == 2 and index.shape == tokens.shape[:1], "'tokens' must be (N, T), 'token_prompt' (N,).")
        _require(bool(np.isfinite(tokens).all()), "'tokens' has values that are not finite.")
        each = np.array_equal(np.unique(index), np.arange(count)) and bool((np.diff(index) >= 0).all())
        _require(each, "'token_prompt' must name every prompt at least once, in ascending order.")
        object.__setattr__(self, "tokens", tokens)
        object.__setattr__(self, "token_prompt", index)

    @property
    def encoder(self) -> dict[str, Any]:
        """The encoder's identity (and whatever else the provenance says of it)."""
        return dict(self.provenance["encoder"])

    def select(self, bank: PromptBank, rows: list[int]) -> TextEmbeddings:
        """The embeddings of `bank`, whose prompts are rows `rows` of this one's, in that order."""
        tokens = token_prompt = None
        if self.tokens is not None and self.token_prompt is not None:
            parts = [np.flatnonzero(self.token_prompt == row) for row in rows]
            tokens = self.tokens[np.concatenate(parts)]
            token_prompt = np.repeat(np.arange(len(rows)), [len(part) for part in parts])
        return TextEmbeddings(bank, self.pooled[rows], tokens, token_prompt, self.provenance)


def write_embeddings(path: str | Path, embeddings: TextEmbeddings, *, dtype: type[np.floating] = np.float32) -> None:
    """Write `embeddings` atomically. Equal embeddings give equal bytes.

    Args:
        path: the file; its suffix must be `.safetensors`.
        embeddings: what to write.
        dtype: storage of the embeddings, float32 or float16.

    Raises:
        EmbeddingFileError: another suffix, or more than MAX_BYTES.
    """
    from safetensors.numpy import save_file

    if Path(path).suffix != ".safetensors":
        raise EmbeddingFileError("An embedding file must be called *.safetensors.", where=path)
    tensors = {"pooled": embeddings.pooled.astype(dtype)}
    if embeddings.tokens is not None and embeddings.token_prompt is not None:
        tensors["tokens"] = embeddings.tokens.astype(dtype)
        tensors["token_prompt"] = embeddings.token_prompt.astype(np.int32)
    for role, table in embeddings.tables.items():
        tensors |= table.tensors(role, dtype)
    size = sum(t.nbytes for t in tensors.values())
    if size > MAX_BYTES // 2:
        raise EmbeddingFileError(
            f"The embeddings take {size} bytes, more than {MAX_BYTES // 2}.",
            where=path,
            remedy="Use fewer or shorter prompts, or leave the tokens out (encode --no-tokens).",
        )
    document = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "bank": embeddings.bank.to_json(),
        "prompts_sha256": embeddings.bank.sha256,
        "provenance": embeddings.provenance,
        **{role: list(table.texts) for role, table in embeddings.tables.items()},
    }
    document["content_sha256"] = _content_sha256(tensors, document)
    with atomic_path(path) as temporary:
        # One metadata entry: safetensors writes several in random order.
        save_file(tensors, temporary, metadata={_ENTRY: json.dumps(document, allow_nan=False)})


def read_embeddings(path: str | Path) -> TextEmbeddings:
    """Read and check an embedding file.

    Raises:
        EmbeddingFileError: the file is missing, too large, truncated or changed, of an unknown format or version, or
            contradicts itself.
    """
    path = Path(path)
    tensors, document = _read_safetensors(path)
    if document.get("format") != FORMAT:
        raise EmbeddingFileError("This is not an embedding file of this package.", where=path, remedy=_REMEDY)
    if document.get("format_version") != FORMAT_VERSION:
        raise EmbeddingFileError(
            f"The file has format version {document.get('format_version')!r}; this version of the package reads "
            f"{FORMAT_VERSION}.",
            where=path,
            remedy=f"Update nnunetv2-textguided, or: {_REMEDY[0].lower()}{_REMEDY[1:]}",
        )
    if document.get("content_sha256") != _content_sha256(tensors, document):
        raise EmbeddingFileError(
            "The file was damaged or changed: its hash does not match.", where=path, remedy=_REMEDY
        )
    try:
        content = document["bank"]
        class_prompts = {label: tuple(prompts) for label, prompts in content["labels"].items()}
        bank = PromptBank(content["name"], class_prompts, tuple(content["context"]))
        _require(bank.sha256 == document["prompts_sha256"], "The hash of the prompts does not match the prompts.")
        tokens, token_prompt = tensors.get("tokens"), tensors.get("token_prompt")
        tables = {role: SentenceTable.of_tensors(role, document[role], tensors) for role in ROLES if role in tensors}
        return TextEmbeddings(bank, tensors["pooled"], tokens, token_prompt, document["provenance"], tables)
    except (PromptBankError, EmbeddingFileError) as e:
        raise EmbeddingFileError(f"The file contradicts itself. {e.what}", where=path, remedy=_REMEDY) from e
    except (KeyError, TypeError, AttributeError, ValueError) as e:
        raise EmbeddingFileError(f"The file's metadata is incomplete: {e!r}.", where=path, remedy=_REMEDY) from e


def encoder_differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """In what the identities of two encoders differ; embeddings of different encoders must never be mixed."""
    return [key for key in ENCODER_KEYS if one.get(key) != other.get(key)]


def _read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise EmbeddingFileError(f"The file has {size} bytes, more than {MAX_BYTES}.", where=path)
        with safe_open(path, framework="numpy") as file:
            keys = sorted(file.keys())
            unknown = [key for key in keys if key not in _DTYPES]
            if unknown or "pooled" not in keys:
                raise EmbeddingFileError(f"Unexpected tensors: {', '.join(keys)}.", where=path, remedy=_REMEDY)
            for key in keys:
                dtype = file.get_slice(key).get_dtype()
                if dtype not in _DTYPES[key]:
                    raise EmbeddingFileError(f"{key!r} has type {dtype}.", where=path, remedy=_REMEDY)
            tensors = {key: file.get_tensor(key) for key in keys}
            document = parse_json((file.metadata() or {}).get(_ENTRY, "{}"))
        return tensors, document if isinstance(document, dict) else {}
    except FileNotFoundError as e:
        raise EmbeddingFileError("The embedding file does not exist.", where=path, remedy=_REMEDY) from e
    except OSError as e:
        raise EmbeddingFileError(f"The file cannot be read: {e}.", where=path) from e
    except (SafetensorError, ValueError, RecursionError) as e:
        raise EmbeddingFileError(f"The file is damaged or no embedding file: {e}.", where=path, remedy=_REMEDY) from e


def _content_sha256(tensors: dict[str, np.ndarray], document: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    rest = {key: value for key, value in document.items() if key != "content_sha256"}
    shapes = [[key, str(tensor.dtype), tensor.shape] for key, tensor in sorted(tensors.items())]
    digest.update(json.dumps([shapes, rest]).encode("ascii"))
    for _, tensor in sorted(tensors.items()):
        digest.update(np.ascontiguousarray(tensor).astype(tensor.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def _unit_rows(array: np.ndarray, name: str) -> np.ndarray:
    rows = np.asarray(array, dtype=np.float32)
    _require(rows.ndim == 2 and rows.shape[1] > 0, f"{name!r} must have two axes, (K, D).")
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    # float16 storage moves a norm by less than 1e-3. A row far from 1 was never normalised.
    _require(bool((np.abs(norms - 1) < 5e-3).all()), f"The rows of {name!r} must be L2-normalised and finite.")
    # Leave rows alone that are as good as float32 gets, so that reading what was written changes nothing.
    return np.where(np.abs(norms - 1) < 1e-6, rows, rows / norms)


def _checked(role: str, table: SentenceTable, width: int) -> SentenceTable:
    _require(role in ROLES, f"There is no table {role!r}.")
    pooled, texts = _unit_rows(table.pooled, role), table.texts
    _require(pooled.shape == (len(texts), width), f"{len(texts)} texts but {pooled.shape} values of {role!r}.")
    _require(0 < len(texts) == len(set(texts)) and all(isinstance(text, str) for text in texts), f"{role!r} repeats.")
    fault = table.fault()
    _require(fault is None, f"{role!r}: {fault}")
    return replace(table, pooled=pooled)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise EmbeddingFileError(message, remedy=_REMEDY)
