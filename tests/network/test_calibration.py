"""The line that makes a similarity logit a probability."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from nnunetv2_textguided.network.calibration import BINS, DECAY, REACH, SLOPES, HeatmapCalibration, count, fit
from tests.networks import network


def evidence(logits: Tensor, inside: Tensor) -> Tensor:
    """Of one label, from flat logits and labels."""
    shaped = [v.float().view(1, 1, 1, -1) for v in (logits, inside, ~inside)]
    return count(*shaped)


def sample(slope: float, offset: float, voxels: int = 200_000, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits, and labels that follow sigmoid(slope l + offset)."""
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(voxels, generator=generator)
    return logits, torch.rand(voxels, generator=generator) < torch.sigmoid(slope * logits + offset)


def calibration_error(probability: Tensor, inside: Tensor) -> float:
    """Expected calibration error over ten equal bins."""
    place = (probability * 10).long().clamp(max=9)
    gaps = [(probability[place == k] - inside[place == k].float()).sum().abs() for k in range(10)]
    return float(sum(gaps) / len(probability))  # type: ignore[arg-type]


def test_without_evidence_it_is_the_sigmoid() -> None:
    logits = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(HeatmapCalibration(3)(logits), torch.sigmoid(logits))


def test_a_checkpoint_from_before_it_means_the_sigmoid() -> None:
    old = {k: v for k, v in network().state_dict().items() if ".calibration." not in k}
    new = network(seed=1)
    new.alignment.calibration.line.fill_(3)  # type: ignore[union-attr]
    new.load_state_dict(old)
    assert new.alignment.calibration.line.tolist() == [[1, 0]]  # type: ignore[union-attr]
    assert not new.alignment.calibration.mass.any()  # type: ignore[union-attr]


@pytest.mark.parametrize("line", [(1.0, 0.0), (0.4, -3.0), (2.0, 1.0)])
def test_the_line_that_made_the_labels_is_found(line: tuple[float, float]) -> None:
    module = HeatmapCalibration(1)
    module.update(evidence(*sample(*line)))
    assert module.line[0].tolist() == pytest.approx(line, rel=0.05, abs=0.05)


def test_probabilities_of_other_voxels_become_true_and_their_order_stays() -> None:
    """Logits of a balanced loss claim a rare label far too often; the evidence is of other voxels."""
    module = HeatmapCalibration(1)
    module.update(evidence(*sample(0.7, -5, seed=0)))
    logits, inside = sample(0.7, -5, seed=1)
    shown = module(logits.view(1, 1, -1)).flatten()
    assert inside.float().mean() < 0.1
    assert calibration_error(torch.sigmoid(logits), inside) > 0.3
    assert calibration_error(shown, inside) < 0.002
    assert (shown[logits.argsort()].diff() >= 0).all()


def test_labels_have_lines_of_their_own_and_one_that_was_never_seen_keeps_the_sigmoid() -> None:
    module = HeatmapCalibration(3)
    logits, inside = sample(0.5, -2)
    stacked = logits.expand(1, 3, 1, -1)
    foreground = torch.stack([inside, torch.zeros_like(inside), torch.ones_like(inside)])[None, :, None].float()
    module.update(count(stacked, foreground, 1 - foreground))
    assert module.line[0].tolist() == pytest.approx([0.5, -2], rel=0.05)
    assert module.line[1:].tolist() == [[1, 0], [1, 0]]
    shown = module(torch.ones(1, 2, 2, 2))  # the labels that are segmented come first
    assert shown[0, :, 0, 0].tolist() == pytest.approx(torch.tensor([-1.5, 1]).sigmoid().tolist(), rel=0.05)


def test_shares_count_as_parts_of_a_voxel_and_ignored_voxels_not_at_all() -> None:
    logits = torch.tensor([0.1, 0.1, -40.0, 40.0]).view(1, 1, 4)
    foreground, background = torch.tensor([0.25, 0, 0, 1]).view(1, 1, 4), torch.tensor([0.75, 0, 1, 0]).view(1, 1, 4)
    found = count(logits, foreground, background)
    assert found.shape == (1, 2, BINS)
    assert found[0, :, BINS // 2].tolist() == [0.75, 0.25]
    assert found[0, :, 0].tolist() == [1, 0]
    assert found[0, :, -1].tolist() == [0, 1]
    assert found.sum() == 3


def test_logits_that_are_not_finite_are_no_evidence() -> None:
    logits = torch.tensor([torch.nan, torch.inf, -torch.inf, 1.0]).view(1, 1, 4)
    found = count(logits, torch.ones(1, 1, 4), torch.zeros(1, 1, 4))
    assert found.sum() == 1
    assert HeatmapCalibration(1)(torch.tensor([[[torch.inf, -torch.inf]]])).isfinite().all()


def test_what_was_seen_long_ago_is_forgotten() -> None:
    module = HeatmapCalibration(1)
    early, late = evidence(*sample(0.2, -6)), evidence(*sample(1.5, -1))
    module.update(early)
    module.update(late)
    torch.testing.assert_close(module.mass, DECAY * early + late)
    for _ in range(60):
        module.update(late)
    assert module.line[0].tolist() == pytest.approx([1.5, -1], rel=0.05)


def test_nothing_is_learned_from_an_epoch_without_evidence() -> None:
    module = HeatmapCalibration(1)
    module.update(evidence(*sample(0.5, -2)))
    before = module.line.clone()
    module.update(torch.zeros(1, 2, BINS))
    torch.testing.assert_close(module.line, before, rtol=1e-3, atol=1e-3)


def test_its_gradient_is_the_line_s_and_it_has_no_parameters() -> None:
    module = HeatmapCalibration(1)
    module.line.copy_(torch.tensor([[0.5, -1.0]]))
    logits = torch.randn(1, 1, 6, dtype=torch.float64, requires_grad=True)
    shown = module(logits)
    shown.sum().backward()
    assert list(module.parameters()) == []
    torch.testing.assert_close(logits.grad, (0.5 * shown * (1 - shown)).double(), rtol=1e-5, atol=1e-6)


def test_half_precision_logits_give_float32_probabilities() -> None:
    logits = torch.linspace(-20, 20, 9).view(1, 1, 9)
    shown = HeatmapCalibration(1)(logits.half())
    assert shown.dtype == torch.float32
    torch.testing.assert_close(shown, torch.sigmoid(logits))


masses = st.lists(st.floats(0, 1e7, allow_subnormal=False), min_size=2 * 6, max_size=2 * 6)


@given(masses, st.lists(st.integers(0, BINS - 1), min_size=6, max_size=6, unique=True))
def test_any_evidence_gives_a_finite_rising_line_no_worse_than_none(counts: list[float], places: list[int]) -> None:
    mass = np.zeros((2, BINS))
    mass[:, places] = np.reshape(counts, (2, 6))
    if not mass.sum(axis=1).all():
        return
    slope, offset = fit(mass)
    assert SLOPES[0] <= slope <= SLOPES[1]
    assert np.isfinite(offset)
    centres = np.linspace(-REACH, REACH, BINS, endpoint=False) + REACH / BINS

    def cross_entropy(s: float, o: float) -> float:
        logit = s * centres + o
        value = mass[1] @ np.logaddexp(0, -logit) + mass[0] @ np.logaddexp(0, logit) + 0.5 * (s - 1) ** 2
        return float(value / mass.sum())

    assert cross_entropy(slope, offset) <= cross_entropy(1, 0) * (1 + 1e-6) + 1e-9


def test_a_logit_that_separates_completely_stays_finite() -> None:
    logits = torch.cat([torch.full((1000,), -5.0), torch.full((10,), 5.0)])
    module = HeatmapCalibration(1)
    module.update(evidence(logits, logits > 0))
    shown = module(torch.tensor([[[-5.0, 5.0]]])).flatten()
    assert shown[0] < 0.01
    assert 0.9 < shown[1] < 1


def test_the_heatmap_that_is_shown_is_calibrated_and_the_segmentation_is_not_touched() -> None:
    net, x = network().eval(), torch.randn(1, 3, 4, 16, 16)
    before = net.explain(x)
    _, similarity = net(x, return_similarity=True)
    net.alignment.calibration.line.copy_(torch.tensor([[0.5, -2.0]]))  # type: ignore[union-attr]
    after = net.explain(x)
    fine = F.interpolate(similarity, x.shape[2:], mode="trilinear", align_corners=False)
    torch.testing.assert_close(before.heatmap, torch.sigmoid(fine))
    torch.testing.assert_close(after.heatmap, torch.sigmoid(0.5 * fine - 2))
    assert torch.equal(after.logits, before.logits)
    assert torch.equal(after.change, before.change)
