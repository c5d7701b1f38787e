"""Prompt bank: the words for each foreground label, and for everything else (docs/text.md).

The JSON form of a bank is read in bank_file.py.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nnunetv2_textguided.errors import PromptBankError
from nnunetv2_textguided.text.bank_file import bank_names, parse_bank, read_bank_json

__all__ = [
    "CONTEXT",
    "MAX_CHARACTERS",
    "MAX_PROMPTS",
    "PromptBank",
    "bank_names",
    "load_bank",
    "normalise",
    "valid_text",
    "words",
]

CONTEXT = -1
"""Label index of context prompts."""
MAX_PROMPTS = 4096
"""A bank with more prompts is refused: the network attends to all of them."""
MAX_CHARACTERS = 2000
"""A longer prompt is refused: no text encoder used here reads more."""


def normalise(text: str) -> str:
    """`text` with one space for each run of whitespace, none at the ends, in Unicode's composed form (NFC).

    What tokenizers ignore must not make an embedding file stale.
    """
    return " ".join(unicodedata.normalize("NFC", text).split())


def words(label: str) -> str:
    """A label's own name as a prompt: `left_kidney` reads "left kidney"."""
    return normalise(label.replace("_", " ")) or normalise(label)


def _alias_key(name: str) -> str:
    return normalise(name.replace("_", " ").replace("-", " ")).casefold()


@dataclass(frozen=True)
class PromptBank:
    """Class prompts per label and context prompts, validated and whitespace-normalised.

    Args:
        name: what the bank is called in logs.
        class_prompts: for each label, in order, its prompts; several prompts are an ensemble, the
            log-mean-exp over their similarities (docs/method.md).
        context_prompts: positive descriptions of everything that is no label. May be empty.
        aliases: other names of a label, for `for_labels`. Not part of the hash.

    Raises:
        PromptBankError: an empty or unreadable prompt or label, too many prompts, an ambiguous alias.
    """

    name: str
    class_prompts: Mapping[str, tuple[str, ...]]
    context_prompts: tuple[str, ...] = ()
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_characters(self.name, "name of the bank")
        class_prompts = {
            label: tuple(valid_text(p, f"{self.name}: label {label!r}") for p in prompts)
            for label, prompts in self.class_prompts.items()
        }
        context = tuple(valid_text(p, f"{self.name}: context") for p in self.context_prompts)
        object.__setattr__(self, "class_prompts", class_prompts)
        object.__setattr__(self, "context_prompts", context)
        object.__setattr__(self, "aliases", {k: tuple(v) for k, v in self.aliases.items() if v})
        for label, prompts in class_prompts.items():
            _check_characters(label, f"{self.name}: label {label!r}")
            if not prompts:
                raise PromptBankError("A label has no prompt.", where=f"{self.name}: {label}", remedy="Give it one.")
        if len(self.prompts) > MAX_PROMPTS:
            raise PromptBankError(
                f"The bank has {len(self.prompts)} prompts, more than {MAX_PROMPTS}.",
                where=self.name,
                remedy="Use fewer prompts or templates.",
            )
        self._alias_table()

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in order."""
        return tuple(self.class_prompts)

    @property
    def prompts(self) -> tuple[str, ...]:
        """Class prompts in label order, then context prompts."""
        return tuple(p for prompts in self.class_prompts.values() for p in prompts) + self.context_prompts

    @property
    def prompt_label(self) -> tuple[int, ...]:
        """For each prompt, the index of its label; -1 for context prompts."""
        of_classes = tuple(i for i, prompts in enumerate(self.class_prompts.values()) for _ in prompts)
        return of_classes + (CONTEXT,) * len(self.context_prompts)

    @property
    def sha256(self) -> str:
        """Ordered hash of labels and prompts, whitespace-normalised."""
        content = [[[normalise(label), list(p)] for label, p in self.class_prompts.items()], list(self.context_prompts)]
        return hashlib.sha256(json.dumps(content).encode("ascii")).hexdigest()

    def match(self, labels: Sequence[str]) -> dict[str, str]:
        """Which of `labels` this bank names: data set label -> bank label.

        By exact name, else by name or alias regardless of case, underscores and hyphens. Each bank label is given out
        once: two labels with the same prompts could not be told apart.
        """
        matched = {label: label for label in labels if label in self.class_prompts}
        taken = set(matched)
        table = self._alias_table()
        for label in labels:
            candidate = table.get(_alias_key(label))
            if label not in matched and candidate is not None and candidate not in taken:
                matched[label] = candidate
                taken.add(candidate)
        return matched

    def for_labels(self, labels: Sequence[str]) -> PromptBank:
        """The bank of exactly `labels`, in this order. A label that is not named here gets its own name as prompt.

        Raises:
            PromptBankError: no labels, a repeated label, or a label whose name cannot be a prompt.
        """
        if not labels:
            raise PromptBankError("There is no foreground label to make prompts for.", where=self.name)
        if len(set(labels)) != len(labels):
            raise PromptBankError(f"Labels repeat: {list(labels)}.", where=self.name)
        matched = self.match(labels)
        class_prompts = {
            label: self.class_prompts[matched[label]] if label in matched else (words(label),) for label in labels
        }
        return PromptBank(self.name, class_prompts, self.context_prompts)

    def to_json(self) -> dict[str, object]:
        """The bank as the JSON that `load_bank` reads."""
        return {
            "name": self.name,
            "labels": {label: list(prompts) for label, prompts in self.class_prompts.items()},
            "context": list(self.context_prompts),
        }

    def _alias_table(self) -> dict[str, str]:
        table: dict[str, str] = {}
        for label in self.class_prompts:
            for name in (label, *self.aliases.get(label, ())):
                other = table.setdefault(_alias_key(name), label)
                if other != label:
                    raise PromptBankError(
                        f"{name!r} names both {other!r} and {label!r}.",
                        where=self.name,
                        remedy="Let labels and aliases differ in more than case, underscores and hyphens.",
                    )
        return table


def load_bank(name_or_path: str) -> PromptBank:
    """A shipped bank by name, or a bank from a JSON file.

    Raises:
        PromptBankError: there is no such bank, or the file is not a valid bank.
    """
    name, content, where = read_bank_json(name_or_path)
    parsed = parse_bank(content, where)
    return PromptBank(parsed.name or name, parsed.class_prompts, parsed.context_prompts, parsed.aliases)


def valid_text(prompt: str, where: str) -> str:
    """`prompt` whitespace-normalised.

    Raises:
        PromptBankError: it is empty, too long, or no readable text.
    """
    _check_characters(prompt, where)
    clean = normalise(prompt)
    if not clean:
        raise PromptBankError("A prompt is empty.", where=where, remedy="Write some words, or remove it.")
    if len(clean) > MAX_CHARACTERS:
        raise PromptBankError(
            f"A prompt has {len(clean)} characters, more than {MAX_CHARACTERS}.",
            where=f"{where}: {clean[:60]}...",
            remedy="Shorten it; text encoders read about 256 tokens.",
        )
    return clean


def _check_characters(text: str, where: str) -> None:
    if not isinstance(text, str):
        raise PromptBankError(f"Expected text, got {type(text).__name__}.", where=where)
    # Cs: half of a surrogate pair, which cannot be written as UTF-8; Cc: control characters.
    bad = next((c for c in text if unicodedata.category(c) in ("Cs", "Cc") and not c.isspace()), None)
    if bad is not None:
        raise PromptBankError(
            f"The text contains the character U+{ord(bad):04X}, which is not readable text.",
            where=ascii(where),
            remedy="Remove it; save the file as UTF-8.",
        )
