"""Losses made from reports: right answers cost least, gradients go the right way, and nothing is undefined."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nnunetv2_textguided.anatomy.sectors import SECTORS, Sector, values_within
from nnunetv2_textguided.losses.report import BatchReports
from nnunetv2_textguided.losses.report_places import Gland, around, body_average, enclosed, grow
from nnunetv2_textguided.losses.sample_report import SampleReport, sample_terms
from nnunetv2_textguided.settings import SupervisionSettings
from nnunetv2_textguided.text.report_target import FILLED, ReportedLesion, ReportTarget

SHAPE, SPACING = (8, 32, 32), (3.0, 3.0, 3.0)
SETTINGS = SupervisionSettings(enabled=True)
LEFT, RIGHT = Sector(side="left"), Sector(side="right")


def gland() -> Tensor:
    """A gland in the patch: right half and left half of the peripheral zone at mid-gland, nothing around it."""
    sectors = torch.zeros(SHAPE, dtype=torch.int16)
    middle = [Sector("peripheral zone", side, "mid-gland", "posterior") for side in ("right", "left")]
    right, left = (SECTORS.index(sector) + 1 for sector in middle)
    sectors[1:7, 8:24, 6:16], sectors[1:7, 8:24, 16:26] = right, left
    return sectors


def extents(sectors: Tensor) -> list[int]:
    counts = torch.bincount(sectors.flatten().long().clamp(0, 24), minlength=25).tolist()
    return [sectors.numel(), *counts[1:]]


def ball(z: int, y: int, x: int, diameter: float) -> Tensor:
    axes = [(torch.arange(n) - c) * s for n, c, s in zip(SHAPE, (z, y, x), SPACING, strict=True)]
    squares = axes[0].view(-1, 1, 1) ** 2 + axes[1].view(1, -1, 1) ** 2 + axes[2] ** 2
    return squares < (diameter / 2) ** 2


def sure(mask: Tensor) -> Tensor:
    """Logits of a network that is sure of a mask."""
    return torch.where(mask, 6.0, -6.0)


def report(*findings: ReportedLesion, lesions: int | None = None, sectors: Tensor | None = None) -> SampleReport:
    target = ReportTarget(len(findings) if lesions is None else lesions, findings)
    return SampleReport.of(target, extents(gland() if sectors is None else sectors))


def total(logits: Tensor, said: SampleReport, sectors: Tensor | None = None) -> Tensor:
    return sample_terms(logits, gland() if sectors is None else sectors, said, SPACING, SETTINGS).total(SETTINGS)


VOLUME_OF_20 = 20.0 * FILLED ** (1 / 3)
"""Diameter of a ball that has the volume of a lesion of 20 mm."""
TRUTH = ball(4, 16, 21, VOLUME_OF_20)
ONE = ReportedLesion(LEFT, 20.0)


def test_the_true_mask_costs_least() -> None:
    said = report(ONE)
    right = total(sure(TRUTH), said)
    assert right < 0.1
    wrong = {
        "empty": sure(torch.zeros(SHAPE, dtype=torch.bool)),
        "other side": sure(ball(4, 16, 8, VOLUME_OF_20)),
        "whole gland": sure(gland() > 0),
        "outside of the gland": sure(ball(4, 2, 29, VOLUME_OF_20)),
        "a speck": sure(ball(4, 16, 21, 3.0)),
        "undecided": torch.zeros(SHAPE),
    }
    costs = {name: float(total(logits, said)) for name, logits in wrong.items()}
    assert all(cost > right + 0.2 for cost in costs.values()), costs


def test_each_term_says_what_it_is_for() -> None:
    said = report(ONE)
    terms = {
        name: sample_terms(sure(mask), gland(), said, SPACING, SETTINGS)
        for name, mask in (
            ("true", TRUTH),
            ("empty", torch.zeros_like(TRUTH)),
            ("other side", ball(4, 16, 8, VOLUME_OF_20)),
            ("much", gland() > 0),
        )
    }
    assert terms["true"].place < 0.1
    assert terms["empty"].place > 0.95
    assert terms["other side"].place > 0.95
    assert terms["true"].outside == terms["empty"].outside == 0
    assert terms["other side"].outside > 0.5
    assert terms["true"].volume == 0
    assert terms["empty"].volume > 0.5
    assert terms["much"].volume > 0.5


@pytest.mark.parametrize("start", [-5.0, -2.0, 0.0])
def test_gradients_go_the_right_way_and_are_finite(start: float) -> None:
    """Down the gradient, the reported place rises; what is falsely seen on the other side falls."""
    logits = torch.full(SHAPE, start)
    logits[ball(4, 16, 8, 10)] = 3.0
    logits.requires_grad_(True)
    terms = sample_terms(logits, gland(), report(ONE), SPACING, SETTINGS)
    (of_place,) = torch.autograd.grad(terms.place, logits, retain_graph=True)
    reachable = grow(gland() == gland()[4, 16, 20], SETTINGS.tolerance_mm + 20 / 2, SPACING)
    assert (of_place <= 0).all()
    assert of_place.min() < 0
    assert not of_place[~reachable].any()
    (of_outside,) = torch.autograd.grad(terms.outside, logits, retain_graph=True)
    assert (of_outside >= 0).all()
    assert of_outside[ball(4, 16, 8, 6)].max() > 0
    assert not of_outside[reachable].any()
    (whole,) = torch.autograd.grad(terms.total(SETTINGS), logits)
    assert whole.isfinite().all()
    # No more than a sample's Dice loss can pull on its logits, times the number of terms.
    assert whole.abs().sum() < 3


def test_a_lesion_that_nobody_sees_is_pulled_at_gently() -> None:
    pulls = []
    for start in (-8.0, -3.0, 0.0):
        logits = torch.full(SHAPE, start, requires_grad=True)
        (gradient,) = torch.autograd.grad(total(logits, report(ReportedLesion(LEFT))), logits)
        pulls.append(float(gradient.clamp(max=0).abs().sum()))
    assert 0 < pulls[0] < 0.01 < pulls[1]


def test_two_lesions_need_two_bodies() -> None:
    small = ReportedLesion(Sector(), 12.0)
    one, two = ball(4, 12, 21, 10), ball(4, 12, 21, 10) | ball(4, 20, 9, 10)
    for said in (report(small, small), report(lesions=2)):
        assert total(sure(two), said) < total(sure(one), said) - 0.2
    # The one whose place is told takes it; the other is anywhere else.
    said = report(ReportedLesion(Sector(), 12.0), ReportedLesion(LEFT, 12.0))
    assert said.lesions[0].sector == LEFT
    assert total(sure(two), said) < total(sure(ball(4, 12, 9, 10) | ball(4, 20, 9, 10)), said) - 0.1


def test_a_place_of_which_less_than_half_is_in_the_patch_says_nothing() -> None:
    logits = torch.full(SHAPE, -2.0, requires_grad=True)
    whole = extents(gland())
    for factor, known in ((1.9, 1), (2.1, 0)):
        said = SampleReport((ONE,), (whole[0], *(round(factor * n) for n in whole[1:])))
        terms = sample_terms(logits, gland(), said, SPACING, SETTINGS)
        assert (terms.regions, terms.measured) == (known, known)
        assert bool(terms.place) == bool(known)
    away = sample_terms(logits, torch.zeros(SHAPE), said, SPACING, SETTINGS)
    assert (away.place, away.regions, away.volume) == (0, 0, 0)
    assert away.outside > 0, "no lesion where the report has none"
    assert torch.autograd.grad(away.total(SETTINGS), logits)[0].isfinite().all()


def test_without_zones_a_lesion_is_anywhere_in_a_patch_that_holds_most_of_the_case() -> None:
    logits = sure(ball(4, 2, 29, VOLUME_OF_20))
    for voxels, known in ((TRUTH.numel(), 1), (3 * TRUTH.numel(), 0)):
        said = SampleReport((ONE,), (voxels, *[0] * 24))
        for sectors in (None, torch.zeros(SHAPE)):
            terms = sample_terms(logits, sectors, said, SPACING, SETTINGS)
            assert terms.regions == known
            assert terms.place < 0.1
            assert terms.outside == 0


def test_more_lesions_than_fit_and_a_region_of_the_whole_patch() -> None:
    everywhere = torch.full(SHAPE, values_within(LEFT)[0], dtype=torch.int16)
    for sectors in (gland(), everywhere):
        logits = torch.zeros(SHAPE, requires_grad=True)
        said = report(*[ReportedLesion(LEFT, 40.0)] * 12, sectors=sectors)
        (gradient,) = torch.autograd.grad(total(logits, said, sectors), logits)
        assert gradient.isfinite().all()


def test_a_place_without_voxels_is_anywhere_in_the_gland() -> None:
    region, share = Gland(gland(), extents(gland()), SPACING).region(Sector(level="apex"))
    assert share == 1
    assert torch.equal(region, gland() > 0)


def test_holes_of_the_zones_are_filled_from_around_and_other_structures_are_not() -> None:
    sectors = gland()
    hole, other = (slice(3, 5), slice(14, 18), slice(18, 22)), (slice(3, 5), slice(10, 12), slice(10, 12))
    sectors[hole], sectors[other] = 0, 30
    places = Gland(sectors, extents(sectors), SPACING)
    for side, within in ((LEFT, True), (RIGHT, False), (Sector(), True)):
        region, _ = places.region(side)
        assert region[hole].all() == region[hole].any() == within
        assert not region[other].any()
        assert not region[:, :8].any()
    assert enclosed(sectors == 99).sum() == 0


def test_distances_are_in_mm() -> None:
    point = torch.zeros(SHAPE, dtype=torch.bool)
    point[4, 16, 16] = True
    grown = grow(point, 6.0, SPACING)
    assert [int(grown.any(dim=d1).any(dim=d2).sum()) for d1, d2 in ((1, 1), (0, 1), (0, 0))] == [5, 5, 5]
    assert torch.equal(grow(point, 0, SPACING), point)
    assert around(torch.tensor(int(point.flatten().int().argmax())), SHAPE, 20.0, SPACING)[4, 16, 16]
    ones = body_average(torch.ones(SHAPE), 20.0, SPACING)
    torch.testing.assert_close(ones, torch.ones(SHAPE))
    torch.testing.assert_close(body_average(point.float(), 1.0, SPACING), point.float())


def batch(
    *samples: SampleReport | None, negative: tuple[bool, ...] | None = None, sectors: bool = True
) -> BatchReports:
    none = tuple(False for _ in samples)
    return BatchReports(samples, negative or none, SETTINGS, 0.5, SPACING, (1,), 2, True)


def test_a_batch_is_the_mean_of_its_samples() -> None:
    logits = torch.randn(2, 2, *SHAPE, requires_grad=True)
    target = torch.stack([torch.full(SHAPE, 2, dtype=torch.int16), gland()])[None].expand(2, -1, -1, -1, -1)
    said = report(ONE)
    both, first = batch(said, said)(logits, target), batch(said, None)(logits, target)
    second = batch(None, said)(logits, target)
    torch.testing.assert_close(both.weighted, first.weighted + second.weighted)
    odds = logits[:, 1] - logits[:, 0]
    torch.testing.assert_close(first.weighted, 0.5 * total(odds[0], said) / 2)
    torch.testing.assert_close(both.outside, (first.outside + second.outside) / 2)
    assert not torch.autograd.grad(first.weighted, logits)[0][1].any()
    nothing = batch(None, None)(logits, target)
    assert nothing.weighted == 0
    assert all(math.isnan(term) for term in nothing[1:])


def test_half_precision_gives_the_same_losses() -> None:
    logits = torch.randn(1, 2, *SHAPE)
    target = torch.stack([torch.full(SHAPE, 2, dtype=torch.int16), gland()])[None]
    with torch.autocast("cpu", torch.bfloat16):
        half = batch(report(ONE))(logits.bfloat16(), target)
    full = batch(report(ONE))(logits.bfloat16().float(), target)
    assert half.weighted.dtype == torch.float32
    assert torch.equal(half.weighted, full.weighted)


def test_a_report_without_lesion_makes_an_annotated_negative() -> None:
    target = torch.full((2, 2, *SHAPE), 2, dtype=torch.int16)
    target[:, 0, 0] = 0
    said = batch(None, None, negative=(True, False))
    for changed in (said.with_negatives(target), said.with_negatives([target])[0]):
        assert not changed[0, 0].any()
        assert torch.equal(changed[1], target[1])
        assert torch.equal(changed[:, 1], target[:, 1])
    assert (target[0, 0, 1:] == 2).all(), "the loader's target is not written to"
    assert batch(None, None).with_negatives(target) is target


def test_all_labels_that_reports_count_are_a_lesion() -> None:
    logits = torch.randn(1, 3, *SHAPE)
    merged = torch.stack([logits[:, 0], logits[:, 1:].logsumexp(dim=1)], dim=1)
    target = torch.stack([torch.full(SHAPE, 3, dtype=torch.int16), gland()])[None]
    said = report(ONE)
    grades = BatchReports((said,), (False,), SETTINGS, 1.0, SPACING, (1, 2), 3, True)(logits, target)
    one = BatchReports((said,), (False,), SETTINGS, 1.0, SPACING, (1,), 2, True)(merged, target)
    torch.testing.assert_close(grades.weighted, one.weighted)


def test_descent_moves_the_mask_into_the_reported_place() -> None:
    """Free logits that see a lesion on the wrong side end with one of the right size on the right side."""
    torch.manual_seed(0)
    logits = torch.randn(SHAPE) * 0.1 - 3
    logits[ball(4, 16, 8, VOLUME_OF_20)] = 2.0
    logits[ball(4, 16, 21, 8)] = -0.5
    logits.requires_grad_(True)
    optimiser = torch.optim.SGD([logits], lr=20.0)
    said = report(ONE)
    for _ in range(200):
        optimiser.zero_grad()
        total(logits, said).backward()
        optimiser.step()
    found = logits.detach() > 0
    left = gland() == gland()[4, 16, 20]
    assert not found[grow(gland() == gland()[4, 16, 10], 0, SPACING) & ~grow(left, 15, SPACING)].any()
    volume = float(found.sum()) * math.prod(SPACING)
    assert 0.4 < volume / float(TRUTH.sum() * math.prod(SPACING)) < 2.5
    assert found[left].sum() > 0.5 * found.sum()
