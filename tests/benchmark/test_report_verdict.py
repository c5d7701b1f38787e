"""The one sentence: what it says in every situation that a benchmark can be in."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nnunetv2_textguided.benchmark.report.names import Role, role, short_names
from nnunetv2_textguided.benchmark.report.verdict import Outcome, Verdict, judge, verdict_pairs
from nnunetv2_textguided.benchmark.study import Variant
from nnunetv2_textguided.evaluation.comparison import Comparison
from nnunetv2_textguided.evaluation.difference import Difference
from nnunetv2_textguided.evaluation.metrics import METRICS
from nnunetv2_textguided.evaluation.trainings import folds_of_means

METHOD = "nnUNetTrainerAlignRefine"


def variant(trainer: str, plans: str = "nnUNetPlans") -> Variant:
    return Variant(trainer, plans, "3d_fullres")


def difference(low: float, high: float) -> Difference:
    """A difference with this 95 % interval: five folds that vary accordingly."""
    spread = (high - low) / 2 / stats.t.ppf(0.975, 4)  # standard error
    apart = np.array([-2, -1, 0, 1, 2]) / np.sqrt(2.5) * spread * np.sqrt(5)
    values = (low + high) / 2 + np.tile(apart[:, None], (1, 10))
    owners = [f"p{i}" for i in range(50)]
    folds = folds_of_means(0.5 + values.reshape(1, 50), np.full((1, 50), 0.5), np.repeat(np.arange(5), 10), owners)
    return Difference(tuple(folds))


def against(role: Role, low: float, high: float, p: float | None = None, metric: str = "dice") -> Comparison:
    """The method against a role, with this interval."""
    shown = p if p is not None else (0.01 if low > 0 or high < 0 else 0.4)
    other = variant(f"{METHOD}_{role.name}")
    return Comparison(variant(METHOD), other, metric, difference(low, high), p_holm=shown)


def verdict(*comparisons: tuple[Role, float, float], metric: str = "dice") -> Verdict:
    found = {role: against(role, low, high, metric=metric) for role, low, high in comparisons}
    return judge(True, found, METRICS[metric], 0.95)


BETTER, SAME, WORSE = (0.02, 0.06), (-0.03, 0.03), (-0.06, -0.02)
ALL = (Role.NO_TEXT, Role.RANDOM, Role.LEARNED, Role.SHUFFLED)


def test_helped_needs_every_control() -> None:
    found = verdict(*((role, *BETTER) for role in ALL))
    assert found.outcome is Outcome.HELPED
    assert found.sentence.startswith(
        "The text helped: against no text AlignRefine's Dice differs by +0.040 [+0.020, +0.060], p = 0.010"
    )
    assert "against shuffled prompts" in found.sentence
    assert found.sentence.count(". ") == 0, "one sentence"


@pytest.mark.parametrize("weak", ALL[1:])
def test_a_control_that_is_as_good_denies_the_text_its_meaning(weak: Role) -> None:
    found = verdict(*((role, *(SAME if role is weak else BETTER)) for role in ALL))
    assert found.outcome is Outcome.GUIDANCE_ONLY
    assert f"it is not shown to beat {weak.value}" in found.sentence


def test_no_evidence_and_harm_are_said_as_they_are() -> None:
    nothing = verdict((Role.NO_TEXT, *SAME), (Role.RANDOM, *BETTER))
    assert nothing.outcome is Outcome.NO_EVIDENCE
    assert "There is no evidence that the text helped" in nothing.sentence
    assert "[\N{MINUS SIGN}0.030, +0.030]" in nothing.sentence
    assert "rather that it did harm" not in nothing.sentence
    opposite = judge(True, {Role.NO_TEXT: against(Role.NO_TEXT, *WORSE, p=0.2)}, METRICS["dice"], 0.95)
    assert opposite.outcome is Outcome.NO_EVIDENCE, "the interval alone is not enough"
    assert "no evidence that the text helped, rather that it did harm" in opposite.sentence
    harm = verdict((Role.NO_TEXT, *WORSE))
    assert harm.outcome is Outcome.HARMED
    assert harm.sentence.startswith("The text did harm")


def test_missing_controls_are_named() -> None:
    partly = verdict((Role.NO_TEXT, *BETTER), (Role.RANDOM, *BETTER))
    assert partly.outcome is Outcome.PARTLY
    assert "as far as the controls that were run can tell" in partly.sentence
    assert "not run: learned vectors and shuffled prompts" in partly.sentence
    alone = verdict((Role.NO_TEXT, *BETTER))
    assert "whether through its text cannot be said" in alone.sentence


def test_without_method_or_ablation_nothing_is_claimed() -> None:
    assert judge(False, {}, METRICS["dice"], 0.95).outcome is Outcome.UNKNOWN
    found = verdict((Role.RANDOM, *BETTER))
    assert found.outcome is Outcome.UNKNOWN
    assert "nnUNetTrainerAlignRefine_NoText" in found.sentence


def test_smaller_distances_are_better() -> None:
    better = verdict(*((role, -4.0, -1.0) for role in ALL), metric="hd95")
    assert better.outcome is Outcome.HELPED
    assert verdict((Role.NO_TEXT, 1.0, 4.0), metric="hd95").outcome is Outcome.HARMED


def test_interval_and_corrected_test_have_to_agree() -> None:
    comparison = against(Role.NO_TEXT, 0.001, 0.06, p=0.08)
    assert judge(True, {Role.NO_TEXT: comparison}, METRICS["dice"], 0.95).outcome is Outcome.NO_EVIDENCE


def test_roles_are_the_trainers_of_this_package() -> None:
    from nnunetv2_textguided import training

    assert {name for name in training.__all__ if role(name) is Role.NO_TEXT} == {
        f"{METHOD}_NoText",
        f"{METHOD}_NoText_250epochs",
    }
    assert role(f"{METHOD}_50epochs") is Role.METHOD
    assert role(f"{METHOD}_RandomText") is Role.RANDOM
    assert role(f"{METHOD}_LearnedText") is Role.LEARNED
    assert role(f"{METHOD}_ShuffledText") is Role.SHUFFLED
    assert {role(f"{METHOD}_{part}") for part in ("NoRefiner", "SingleEncoder", "NoHeatmap")} == {Role.OTHER}
    assert role("nnUNetTrainer") is role("nnUNetTrainer_250epochs") is Role.OTHER


def test_opponents_have_the_same_plans_and_length() -> None:
    variants = [
        variant(METHOD),
        variant(f"{METHOD}_NoText_250epochs"),
        variant(f"{METHOD}_RandomText"),
        variant(f"{METHOD}_NoText", "otherPlans"),
    ]
    assert list(verdict_pairs(variants)) == [Role.RANDOM]


def test_short_names_differ_and_leave_out_what_all_share() -> None:
    names = short_names([variant("nnUNetTrainer"), variant(METHOD), variant(f"{METHOD}_RandomText")])
    assert list(names.values()) == ["nnU-Net", "AlignRefine", "RandomText"]
    same_length = short_names([variant(f"{METHOD}_50epochs"), variant(f"{METHOD}_NoText_50epochs")])
    assert list(same_length.values()) == ["AlignRefine", "NoText"]
    two_lengths = short_names([variant("nnUNetTrainer_1epoch"), variant(METHOD)])
    assert list(two_lengths.values()) == ["nnU-Net 1epoch", "AlignRefine"]
    two_plans = short_names([variant(METHOD), variant(METHOD, "b")])
    assert list(two_plans.values()) == ["AlignRefine (nnUNetPlans)", "AlignRefine (b)"]
