"""What is suspicious about prompts: warnings for people, never errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

from nnunetv2_textguided.text.bank import CONTEXT, PromptBank
from nnunetv2_textguided.text.embeddings import TextEmbeddings

Kind = Literal["negation", "duplicate", "mixing", "indistinct", "no context", "no meaning"]
INDISTINCT = 0.98
"""Prompts of two groups with a higher cosine are one and the same to the network."""
_NEGATION = re.compile(
    r"\b(no|not|non|without|absent|absence|never|neither|nor|none|lacks?|lacking|free of|negative for|rule[sd]? out|"
    r"(?:is|are|does|do)n['\u2019]t)\b(?!-)",
    re.IGNORECASE,
)


class PromptWarning(NamedTuple):
    """A warning: its kind, and a sentence that names the prompts."""

    kind: Kind
    message: str


def check_bank(bank: PromptBank) -> list[PromptWarning]:
    """Warnings that need no encoder: negations, duplicates, a missing context."""
    found = [
        PromptWarning(
            "negation",
            f"{prompt!r} ({group_name(bank, row)}): text encoders hardly notice {hit.group(0)!r}; say what is there",
        )
        for row, prompt in enumerate(bank.prompts)
        if (hit := _NEGATION.search(prompt))
    ]
    rows: dict[str, list[int]] = {}
    for row, prompt in enumerate(bank.prompts):
        rows.setdefault(prompt.casefold(), []).append(row)
    for same in rows.values():
        groups = list(dict.fromkeys(group_name(bank, row) for row in same))
        if len(groups) > 1:
            message = f"{bank.prompts[same[0]]!r} is a prompt of {' and of '.join(groups)}, which it cannot tell apart"
            found.append(PromptWarning("duplicate", message))
        elif len(same) > 1:
            found.append(
                PromptWarning("duplicate", f"{bank.prompts[same[0]]!r} occurs {len(same)} times in {groups[0]}")
            )
    if not bank.context_prompts and len(bank.labels) == 1:
        found.append(PromptWarning("no context", "no context prompts: nothing says what the rest of the image is"))
    return found


def check_embeddings(embeddings: TextEmbeddings) -> list[PromptWarning]:
    """Warnings about the meaning that an encoder gave to the prompts (and those of `check_bank`).

    Mixing: a class prompt whose nearest prompt of its own class is further away than a prompt of the context or of
    another class. Indistinct: prompts of two groups with nearly the same embedding.
    """
    bank = embeddings.bank
    similarity = embeddings.pooled @ embeddings.pooled.T
    found = [*check_bank(bank), *_indistinct(bank, similarity), *_mixing(bank, similarity)]
    for phrase in embeddings.encoder.get("not_language_embeddings", ()):
        found.append(
            PromptWarning("no meaning", f"{phrase!r} has a hashed code instead of a language embedding; run encode")
        )
    return found


def group_name(bank: PromptBank, row: int) -> str:
    """The label of a prompt, or "context"."""
    index = bank.prompt_label[row]
    return "context" if index == CONTEXT else bank.labels[index]


def _mixing(bank: PromptBank, similarity: np.ndarray) -> Iterator[PromptWarning]:
    label = np.array(bank.prompt_label)
    for row in np.flatnonzero(label >= 0).tolist():
        own = (label == label[row]) & (np.arange(len(label)) != row)
        others = label != label[row]
        if not own.any() or not others.any():
            continue
        nearest = int(np.argmax(np.where(others, similarity[row], -np.inf)))
        closest_own = float(similarity[row][own].max())
        if similarity[row, nearest] > closest_own:
            yield PromptWarning(
                "mixing",
                f"{bank.prompts[row]!r} ({group_name(bank, row)}) is closer to {bank.prompts[nearest]!r} "
                f"({group_name(bank, nearest)}, {similarity[row, nearest]:.2f}) than to any other prompt of its own "
                f"({closest_own:.2f})",
            )


def _indistinct(bank: PromptBank, similarity: np.ndarray) -> Iterator[PromptWarning]:
    label = np.array(bank.prompt_label)
    for a, b in np.argwhere(np.triu(similarity > INDISTINCT, 1) & (label[:, None] != label)).tolist():
        if bank.prompts[a].casefold() != bank.prompts[b].casefold():
            yield PromptWarning(
                "indistinct",
                f"{bank.prompts[a]!r} ({group_name(bank, a)}) and {bank.prompts[b]!r} ({group_name(bank, b)}) have a "
                f"cosine of {similarity[a, b]:.3f}",
            )
