from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from nnunetv2_textguided.losses.region import TverskyLoss
from nnunetv2_textguided.losses.segmentation import SegmentationLoss
from nnunetv2_textguided.losses.voxel import VoxelLoss
from nnunetv2_textguided.settings import SegmentationLossSettings

LOGITS = torch.randn(2, 3, 4, 6, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(0, 3, (2, 1, 4, 6, 6), generator=torch.Generator().manual_seed(1)).float()
REGIONS = torch.randint(0, 2, (2, 3, 4, 6, 6), generator=torch.Generator().manual_seed(2)).float()


@pytest.mark.parametrize("batch", [False, True])
def test_alpha_beta_one_half_is_nnunets_soft_dice(batch: bool) -> None:
    from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
    from nnunetv2.utilities.helpers import softmax_helper_dim1

    theirs = MemoryEfficientSoftDiceLoss(softmax_helper_dim1, batch_dice=batch, do_bg=False, smooth=0, ddp=False)
    torch.testing.assert_close(TverskyLoss(batch=batch, smooth=0)(LOGITS, LABELS), 1 + theirs(LOGITS, LABELS))


def test_gamma_one_is_the_plain_tversky_loss_and_a_higher_gamma_is_below_it() -> None:
    plain, focal = TverskyLoss(0.3, 0.7), TverskyLoss(0.3, 0.7, gamma=1.5)
    assert focal(LOGITS, LABELS) < plain(LOGITS, LABELS)
    single = LABELS.clamp(max=1)
    torch.testing.assert_close(
        focal(LOGITS[:1, :2], single[:1]), plain(LOGITS[:1, :2], single[:1]).pow(1.5), rtol=1e-5, atol=1e-6
    )


def test_beta_punishes_misses_more_than_alpha_punishes_false_alarms() -> None:
    truth = torch.zeros(1, 1, 100)
    truth[..., :20] = 1

    def logits(claimed: slice) -> torch.Tensor:
        foreground = torch.full((100,), -10.0)
        foreground[claimed] = 10.0
        return torch.stack([-foreground, foreground])[None]

    loss = TverskyLoss(0.3, 0.7)
    assert loss(logits(slice(0, 10)), truth) > loss(logits(slice(0, 30)), truth)


def test_topk_of_everything_and_focal_zero_are_cross_entropy() -> None:
    expected = F.cross_entropy(LOGITS, LABELS[:, 0].long())
    for loss in (VoxelLoss(), VoxelLoss("topk", topk_percent=100.0), VoxelLoss("focal", focal_gamma=0.0)):
        torch.testing.assert_close(loss(LOGITS, LABELS), expected)


def test_topk_averages_the_hardest_voxels() -> None:
    losses = F.cross_entropy(LOGITS, LABELS[:, 0].long(), reduction="none").flatten()
    expected = losses.sort(descending=True).values[: int(0.1 * losses.numel())].mean()
    torch.testing.assert_close(VoxelLoss("topk", topk_percent=10.0)(LOGITS, LABELS), expected)


def test_focal_weighs_by_uncertainty() -> None:
    probability = torch.softmax(LOGITS, dim=1).gather(1, LABELS.long())
    expected = ((1 - probability).pow(2) * -probability.log()).mean()
    torch.testing.assert_close(VoxelLoss("focal", focal_gamma=2.0)(LOGITS, LABELS), expected)


def test_region_cross_entropy_is_binary() -> None:
    expected = F.binary_cross_entropy_with_logits(LOGITS, REGIONS)
    torch.testing.assert_close(VoxelLoss(regions=True)(LOGITS, REGIONS), expected)


ALL = [
    SegmentationLossSettings(region=region, voxel=voxel, label_smoothing=0.0)
    for region in ("dice", "tversky", "focal_tversky", "none")
    for voxel in ("ce", "topk", "focal", "none")
    if (region, voxel) != ("none", "none")
]


def compound(settings: SegmentationLossSettings, regions: bool, ignore: int | None) -> SegmentationLoss:
    return SegmentationLoss(settings, regions, ignore, batch_dice=True)


@pytest.mark.parametrize("settings", ALL, ids=lambda s: f"{s.region}-{s.voxel}")
@pytest.mark.parametrize("regions", [False, True])
def test_ignored_voxels_do_not_matter(settings: SegmentationLossSettings, regions: bool) -> None:
    ignored = torch.zeros(2, 1, 4, 6, 6)
    ignored[..., :3] = 1
    loss = compound(settings, regions, ignore=3)
    if regions:
        truth = torch.cat([REGIONS * (1 - ignored), ignored], dim=1)
    else:
        truth = torch.where(ignored > 0, torch.tensor(3.0), LABELS)
    changed = torch.where(ignored > 0, torch.randn_like(LOGITS), LOGITS)
    torch.testing.assert_close(loss(LOGITS, truth), loss(changed, truth))


@pytest.mark.parametrize("settings", ALL, ids=lambda s: f"{s.region}-{s.voxel}")
@pytest.mark.parametrize("truth", [0.0, 3.0], ids=["background only", "ignored only"])
def test_batches_without_foreground_are_finite(settings: SegmentationLossSettings, truth: float) -> None:
    logits = LOGITS.clone().requires_grad_()
    loss = compound(settings, False, ignore=3)(logits, torch.full_like(LABELS, truth))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("settings", ALL, ids=lambda s: f"{s.region}-{s.voxel}")
def test_gradient_lowers_the_loss(settings: SegmentationLossSettings) -> None:
    logits = LOGITS.clone().requires_grad_()
    loss = compound(settings, False, None)
    before = loss(logits, LABELS)
    before.backward()
    assert logits.grad is not None
    step = 0.1 * logits.grad / logits.grad.abs().max()
    assert loss(logits.detach() - step, LABELS) < before


def test_topk_teaches_negatives_where_tversky_does_not() -> None:
    """On a patch without foreground Tversky's gradient vanishes; the voxel term carries it."""
    logits = torch.zeros(1, 2, 1000)
    logits[:, 0] = 4.0
    sizes = {}
    for name, settings in {
        "tversky": SegmentationLossSettings(region="tversky", voxel="none"),
        "topk": SegmentationLossSettings(region="tversky", voxel="topk"),
    }.items():
        x = logits.clone().requires_grad_()
        compound(settings, False, None)(x, torch.zeros(1, 1, 1000)).backward()
        assert x.grad is not None
        sizes[name] = x.grad.abs().max().item()
    assert sizes["topk"] > 100 * sizes["tversky"]


def test_label_smoothing_needs_a_loss_that_has_it() -> None:
    with pytest.raises(ValueError, match="label_smoothing"):
        SegmentationLossSettings(label_smoothing=0.05)
    smooth = SegmentationLossSettings(region="tversky", voxel="topk", label_smoothing=0.1)
    sharp = SegmentationLossSettings(region="tversky", voxel="topk")
    confident = 20 * F.one_hot(LABELS[:, 0].long(), 3).movedim(-1, 1).float()
    assert compound(smooth, False, None)(confident, LABELS) > compound(sharp, False, None)(confident, LABELS) + 0.1
