"""What variants are called in tables and figures, and what part each plays in the question whether text helps."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum

from nnunetv2_textguided.nnunet.variant import Variant

_STOCK = "nnUNetTrainer"
_METHOD = "AlignRefine"
# Length variants (..._50epochs, ..._1epoch) differ in nothing else.
_LENGTH = re.compile(r"_\d+epochs?$")


class Role(Enum):
    """The part of a trainer in the question whether the text helps."""

    METHOD = "AlignRefine"
    NO_TEXT = "no text"
    RANDOM = "random vectors"
    LEARNED = "learned vectors"
    SHUFFLED = "shuffled prompts"
    OTHER = "other"


CONTROLS = (Role.RANDOM, Role.LEARNED, Role.SHUFFLED)
_SUFFIXES = {
    "": Role.METHOD,
    "_NoText": Role.NO_TEXT,
    "_RandomText": Role.RANDOM,
    "_LearnedText": Role.LEARNED,
    "_ShuffledText": Role.SHUFFLED,
}


def role(trainer: str) -> Role:
    """The role of a trainer, by the names in docs/trainers.md; a length (`_50epochs`) changes nothing."""
    bare = _LENGTH.sub("", trainer)
    prefix = _STOCK + _METHOD
    return _SUFFIXES.get(bare.removeprefix(prefix), Role.OTHER) if bare.startswith(prefix) else Role.OTHER


def length(trainer: str) -> str:
    """The length that a trainer's name ends in, such as "_50epochs"; empty where there is none."""
    found = _LENGTH.search(trainer)
    return found.group() if found else ""


def short_names(variants: Sequence[Variant]) -> Mapping[Variant, str]:
    """Names that are short and differ: without what all variants share."""
    several_plans = len({variant.plans for variant in variants}) > 1
    lengths = {length(variant.trainer) for variant in variants}

    def name(variant: Variant) -> str:
        trainer = variant.trainer
        if len(lengths) == 1:
            trainer = _LENGTH.sub("", trainer)
        if _LENGTH.sub("", trainer) == _STOCK:
            trainer = f"nnU-Net{length(trainer)}"
        short = trainer.removeprefix(_STOCK).replace("_", " ").strip()
        short = re.sub(rf"^{_METHOD} (?=\S)", "", short)  # "RandomText", where "AlignRefine RandomText" says no more
        return f"{short} ({variant.plans})" if several_plans else short

    made = {variant: name(variant) for variant in variants}
    unique = len(set(made.values())) == len(made)
    return made if unique else {variant: variant.name for variant in variants}
