"""How a benchmark is evaluated: every choice that changes a number, in one place, printed in the report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from nnunetv2_textguided.evaluation.conventions import EmptyMask, MissedDistance


@dataclass(frozen=True)
class Scoring:
    """What is done to each case.

    Attributes:
        extraction: lesion extraction: "dynamic" (PI-CAI's), "dynamic-fast", or a probability.
        largest_only: keep the largest component of each mask only.
        min_voxels: remove components of a mask that have fewer voxels.
        empty: what an empty mask counts as.
        missed: HD95 where exactly one mask is empty.
    """

    extraction: str | float = "dynamic"
    largest_only: bool = False
    min_voxels: int = 0
    empty: EmptyMask = EmptyMask.POSITIVES_ONLY
    missed: MissedDistance = MissedDistance.EXCLUDE

    @property
    def fingerprint(self) -> dict[str, object]:
        """The choices as JSON values: scores made under other ones are not reused."""
        return {**asdict(self), "empty": self.empty.value, "missed": self.missed.value}

    @property
    def postprocessing(self) -> str:
        """Post-processing in words."""
        steps = [f"components of fewer than {self.min_voxels} voxels removed"] if self.min_voxels else []
        steps += ["largest component only"] if self.largest_only else []
        return ", then ".join(steps) if steps else "none"


@dataclass(frozen=True)
class ReportOptions:
    """What is compared with what, and how.

    Attributes:
        scoring: of each case.
        label: the class that is scored; None: see classes.choose_targets.
        baseline: trainer that the others are compared with; None: the first one.
        primary: metric of the forest plot, of the worst cases and of the verdict.
        equal: "plans" or "compute": what the variants are meant to have in common; checked and printed.
        resamples: bootstrap replicates, and permutations.
        seed: of both.
        level: nominal coverage of intervals; 1 - level is the level of tests.
        allow_incomplete: compare what there is.
        cases: a cases.csv; None: the data set's own, if there is one. A path named "none" means: without.
        volume_edges: limits in mL between groups of lesion volume; empty: terciles.
        pictures: number of worst cases that are shown; as many gains and losses against the baseline.
        pdf: also write every figure as PDF.
        jobs: worker processes.
    """

    scoring: Scoring = Scoring()
    label: str | None = None
    baseline: str | None = None
    primary: str = "dice"
    equal: str = "plans"
    resamples: int = 2000
    seed: int = 0
    level: float = 0.95
    allow_incomplete: bool = False
    cases: Path | None = None
    volume_edges: tuple[float, ...] = ()
    pictures: int = 4
    pdf: bool = False
    jobs: int = 1
