"""Per-channel encoders at the price of one: which settings cost no more than stock nnU-Net."""

from __future__ import annotations

import bisect
import sys
from collections.abc import Callable, Iterator
from typing import Any

COST_LIMIT = 1.15
"""A step costs at most this many times the floating-point operations of the stock network's at the same patch."""

STYLES = {
    "narrow": "every channel keeps its own encoder, with fewer features",
    "shared": "every channel has its own first stages, at full width where possible; one shared trunk continues",
}

Encoders = dict[str, Any]


def encoder_choices(style: str, stages: int) -> Iterator[list[Encoders]]:
    """Settings of `encoders` in order of preference, in lists within which each is cheaper than the one before.

    Args:
        style: a key of `STYLES`.
        stages: number of encoder stages.
    """
    # In sixteenths: widths are rounded to multiples of 8 features, finer steps change nothing.
    widths = [step / 16 for step in range(16, 0, -1)]
    if style == "narrow":
        yield [_encoders(width, None) for width in widths]
    else:
        yield from ([_encoders(width, stage) for stage in range(stages - 1, 0, -1)] for width in widths)


def _encoders(width: float, shared_from_stage: int | None) -> Encoders:
    return {"arrangement": "per_channel", "width": width, "shared_from_stage": shared_from_stage}


def described(encoders: Encoders) -> str:
    """A choice in words."""
    stage = encoders["shared_from_stage"]
    return f"encoders of width {encoders['width']:g}" + ("" if stage is None else f", shared from stage {stage}")


def report_progress(text: str) -> None:
    """A line for whoever waits: trying choices takes a minute or more. nnU-Net's own prints are kept away."""
    print(text, file=sys.stderr, flush=True)


def affordable_choices(style: str, stages: int, affordable: Callable[[Encoders], bool]) -> Iterator[Encoders]:
    """The choices that are affordable, in order of preference; as few as possible are looked at."""
    for choices in encoder_choices(style, stages):
        if affordable(choices[-1]):
            yield from choices[bisect.bisect_left(choices, True, key=affordable) :]
