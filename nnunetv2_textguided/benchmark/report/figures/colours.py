"""A colour for each variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nnunetv2_textguided.benchmark.report.names import Role, role
from nnunetv2_textguided.nnunet.variant import Variant

METHOD_COLOUR, BASELINE_COLOUR = "#0d9488", "#8a94a0"
# Distinct for the colour-blind (after Okabe and Ito), readable on white and on black.
_OTHERS = ("#3f8fd6", "#e8920c", "#c2588f", "#8b6fd6", "#a89526", "#d2573f", "#5aa9a3", "#9a7a5f")


def colours(variants: Sequence[Variant], baseline: Variant) -> Mapping[Variant, str]:
    """A colour for each variant: the method's and the baseline's are always the same."""
    free = iter(_OTHERS * (1 + len(variants) // len(_OTHERS)))
    chosen: dict[Variant, str] = {}
    for variant in variants:
        first_method = role(variant.trainer) is Role.METHOD and METHOD_COLOUR not in chosen.values()
        if variant == baseline:
            chosen[variant] = BASELINE_COLOUR
        else:
            chosen[variant] = METHOD_COLOUR if first_method else next(free)
    return chosen
