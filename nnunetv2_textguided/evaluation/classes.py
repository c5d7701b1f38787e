"""Which label of a data set is scored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.nnunet.labels import LESION_LABEL, Target, target_of


def choose_targets(labels: Mapping[str, Any], wanted: str | None, where: object) -> tuple[Target, ...]:
    """The label `wanted`; by default csPCa, else the only foreground label, else all of them (averaged).

    Raises:
        DataError: there is no such label, or no foreground label at all.
    """
    foreground = [name for name in labels if name not in ("background", "ignore")]
    if not foreground:
        raise DataError("The data set has no foreground label.", where=where)
    if wanted is not None:
        chosen = [wanted]
    elif LESION_LABEL in foreground:
        chosen = [LESION_LABEL]
    else:
        chosen = foreground
    return tuple(target_of(labels, name, where) for name in chosen)


def describe_targets(targets: tuple[Target, ...]) -> str:
    """What is scored, in words."""
    names = ", ".join(target.name for target in targets)
    if len(targets) == 1:
        return f"label {names}"
    return f"the mean of the labels {names} (--label chooses one)"
