"""How a training step grows with the patch, the channels, the classes and the prompts, relative to one base case."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from nnunetv2_textguided.planning.memory import StepCost, StepCounter
from nnunetv2_textguided.planning.step import Labels
from tests.performance.pairs import compare
from tests.performance.subjects import guided, training_step

SHRINK = 4
"""Widths are a quarter of the plans': what text costs shows more in a narrow network."""


@dataclass(frozen=True)
class Case:
    """What a step depends on. `prompts` are those of one class; four context prompts come with them."""

    patch: tuple[int, int, int] = (16, 64, 64)
    channels: int = 3
    classes: int = 1
    prompts: int = 14

    @property
    def labels(self) -> Labels:
        return Labels(tuple(f"c{i}" for i in range(self.classes)), regions=False)

    @property
    def arguments(self) -> dict[str, Any]:
        text = {"prompts_per_label": (self.prompts,) * self.classes, "context": 4}
        return {"shrink": SHRINK, "channels": self.channels, "heads": self.classes + 1, **text}

    def step(self) -> Any:
        """A training step of this size."""
        return training_step(*guided(**self.arguments), self.patch, channels=self.channels, labels=self.labels)

    def cost(self) -> StepCost:
        """Its counted cost."""
        _, settings = guided(**self.arguments)
        counter = StepCounter(self.channels, self.labels, device="cpu")
        return counter.count(lambda: guided(**self.arguments)[0], {}, self.patch, 1, settings)


BASE = Case()
CASES = {
    **{f"patch {' x '.join(map(str, p))}": replace(BASE, patch=p) for p in ((16, 64, 128), (16, 128, 128))},
    **{f"{n} channels": replace(BASE, channels=n) for n in (1, 2, 5, 8)},
    **{f"{n} classes": replace(BASE, classes=n) for n in (5, 20)},
    **{f"{n + 4} prompts": replace(BASE, prompts=n) for n in (1, 96, 996)},
}


@pytest.mark.parametrize("name", CASES)
def test_scaling_of_a_training_step(benchmark: Any, name: str) -> None:
    case, base, bigger = CASES[name], BASE.cost(), CASES[name].cost()
    ratio = compare(
        benchmark,
        case.step(),
        BASE.step(),
        3,
        scaling=name,
        bytes=bigger.activations_per_patch / base.activations_per_patch,
        flops=bigger.flops_per_patch / base.flops_per_patch,
        parameters=bigger.parameters / base.parameters,
    )
    # Nothing grows faster than what is counted, whatever the machine: no quadratic term hides anywhere.
    assert ratio.median < 1.5 * max(1.0, benchmark.extra_info["bytes"], benchmark.extra_info["flops"])
