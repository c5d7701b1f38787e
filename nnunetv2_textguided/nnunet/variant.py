"""One model of nnU-Net: trainer, plans and configuration; and which of a variant's repeats it is.

A variant may be trained several times. Repeat 1 is trained under the variant's own plans name, repeat N under a copy of
its plans called `<plans>_repeatN`: nnU-Net names model folders by plans, so that its own commands read every repeat.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.nnunet.folders import model_name

_REPEAT = re.compile(r"(?P<plans>.+)_repeat(?P<repeat>[2-9]|[1-9]\d+)")


def repeat_plans(plans: str, repeat: int) -> str:
    """The plans name under which a repeat is trained: `nnUNetPlans`, `nnUNetPlans_repeat2`, ..."""
    return plans if repeat == 1 else f"{plans}_repeat{repeat}"


def split_repeat(plans: str) -> tuple[str, int]:
    """The variant's own plans name and the repeat, of the name under which it was trained."""
    match = _REPEAT.fullmatch(plans)
    return (match["plans"], int(match["repeat"])) if match else (plans, 1)


@dataclass(frozen=True, order=True)
class Variant:
    """One of the models that are compared."""

    trainer: str
    plans: str
    configuration: str

    @property
    def name(self) -> str:
        """nnU-Net's name of the model folder."""
        return model_name(self.trainer, self.plans, self.configuration)

    def repeated(self, repeat: int) -> Variant:
        """The model as it is trained in a repeat: under that repeat's plans name."""
        return replace(self, plans=repeat_plans(self.plans, repeat))


def read_model(word: str, configuration: str) -> Variant:
    """The model that TRAINER__PLANS names.

    Raises:
        DataError: the word is not of this form.
    """
    trainer, separator, plans = word.partition("__")
    if not (trainer and separator and plans):
        raise DataError(f"{word!r} is no model.", where="--models", remedy="Give TRAINER__PLANS.")
    return Variant(trainer, plans, configuration)
