"""The small embedding file in the package: a fresh machine trains without a text encoder and without internet.

It holds the prompts of every shipped bank and the label names of common data sets, embedded with all-MiniLM-L6-v2, a
GENERAL-DOMAIN sentence encoder: it tells words apart, but knows no radiology (docs/text.md). It is made, and can be
made again, by

    python -m nnunetv2_textguided.text.packaged [FILE]
"""

from __future__ import annotations

import functools
import hashlib
import sys
from pathlib import Path

import numpy as np

from nnunetv2_textguided.files import PACKAGE, read_json
from nnunetv2_textguided.text.bank import PromptBank, bank_names, load_bank, words
from nnunetv2_textguided.text.embeddings import TextEmbeddings, read_embeddings, write_embeddings

PACKAGED = PACKAGE / "text" / "data" / "minilm.safetensors"
VOCABULARY = PACKAGE / "text" / "data" / "vocabulary.json"
SOURCE = "packaged: all-MiniLM-L6-v2 (general-domain, not biomedical)"
"""What a resolved model says about where its embeddings come from."""


def phrase_key(phrase: str) -> str:
    """What two phrases must share to have the same embedding: the encoder does not know upper case."""
    return words(phrase).casefold()


def packaged_phrases() -> tuple[str, ...]:
    """Every phrase the packaged file embeds: the prompts of the shipped banks, their labels, and the vocabulary."""
    banks = [load_bank(name) for name in bank_names()]
    phrases = [prompt for bank in banks for prompt in bank.prompts]
    phrases += [words(label) for bank in banks for label in bank.labels]
    phrases += read_json(VOCABULARY)["names"]
    return tuple({phrase_key(phrase): phrase for phrase in reversed(phrases)}.values())[::-1]


@functools.cache
def packaged_embeddings() -> TextEmbeddings:
    """The packaged file: a table of phrases, stored as the context prompts of a bank without labels."""
    return read_embeddings(PACKAGED)


@functools.cache
def packaged_rows() -> dict[str, int]:
    """Row of the packaged table for each phrase_key."""
    return {phrase_key(phrase): row for row, phrase in enumerate(packaged_embeddings().bank.prompts)}


def hashed_code(phrase: str, dim: int) -> np.ndarray:
    """A deterministic unit vector (dim,) for a phrase that no encoder has seen: NOT a language embedding.

    Character trigrams are hashed to signed coordinates, so that equal names get equal codes and similar spellings
    similar ones. Nothing of the meaning is in it.
    """
    code = np.zeros(dim, dtype=np.float32)
    padded = f"  {phrase_key(phrase)} "
    for start in range(len(padded) - 2):
        digest = hashlib.sha256(padded[start : start + 3].encode("utf-8")).digest()
        for part in range(8):
            value = int.from_bytes(digest[4 * part : 4 * part + 4], "little")
            code[(value >> 1) % dim] += 1.0 if value & 1 else -1.0
    norm = float(np.linalg.norm(code))
    if norm == 0:  # opposite hits can cancel in theory; the result must stay a unit vector
        code[0], norm = 1.0, 1.0
    return code / norm


def make(target: Path = PACKAGED) -> TextEmbeddings:
    """Compute and write the packaged file; needs the `text` extra.

    Raises:
        EncoderError: the MiniLM wheel is not installed.
    """
    from nnunetv2_textguided.text.encoder_transformers import minilm
    from nnunetv2_textguided.text.provenance import make_provenance

    encoder = minilm()
    bank = PromptBank("packaged", {}, packaged_phrases())
    note = "General-domain sentence encoder. Not trained on biomedical text or images."
    provenance = make_provenance(encoder.identity, command="python -m nnunetv2_textguided.text.packaged", note=note)
    embeddings = TextEmbeddings(bank, encoder.encode(bank.prompts).pooled, provenance=provenance)
    write_embeddings(target, embeddings, dtype=np.float16)
    return embeddings


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGED
    print(f"{len(make(path).bank.prompts)} phrases, {path.stat().st_size} bytes -> {path}")
