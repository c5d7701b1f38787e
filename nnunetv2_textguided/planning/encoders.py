"""Per-channel encoders at the price of one: which settings cost no more than stock nnU-Net."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

COST_LIMIT = 1.15
"""A step costs at most this many times the floating-point operations of the stock network's at the same patch."""

STYLES = {
    "narrow": "every channel keeps its own encoder, with fewer features",
    "shared": "every channel has its own first stages, as many and as wide as possible; one shared trunk continues",
}


def encoder_choices(style: str, stages: int) -> Iterator[dict[str, Any]]:
    """Settings of `encoders` in order of preference.

    Args:
        style: a key of `STYLES`.
        stages: number of encoder stages.
    """
    # In sixteenths: widths are rounded to multiples of 8 features, finer steps change nothing.
    for step in range(16, 0, -1):
        for shared in [None] if style == "narrow" else range(stages - 1, 0, -1):
            yield {"arrangement": "per_channel", "width": step / 16, "shared_from_stage": shared}
