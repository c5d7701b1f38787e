from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from nnunetv2_textguided.losses.targets import map_target


def test_shares_are_the_area_average_of_the_one_hot_volume() -> None:
    labels = torch.randint(0, 4, (2, 1, 4, 8, 8))
    shares = map_target(labels, (4, 2, 2), [1, 2, 3], None)
    one_hot = torch.cat([(labels == c).float() for c in (1, 2, 3)], dim=1)
    torch.testing.assert_close(shares.foreground, F.avg_pool3d(one_hot, (1, 4, 4)))
    assert (shares.valid == 1).all()
    torch.testing.assert_close(shares.background, 1 - shares.foreground)


@pytest.mark.parametrize("patch", [(4, 8, 8), (16, 32, 32), (6, 10)])
def test_counts_are_exact_whatever_the_cell(patch: tuple[int, ...]) -> None:
    grid = [2] * len(patch)
    labels = torch.randint(0, 2, (2, 1, *patch))
    shares = map_target(labels, grid, [1], None)
    cells = labels.float().reshape(2, 1, *[n for size in patch for n in (2, size // 2)])
    assert torch.equal(shares.foreground, cells.mean(dim=[3 + 2 * axis for axis in range(len(patch))]))
    full = map_target(torch.ones_like(labels), grid, [1], None)
    assert (full.foreground == 1).all()


def test_ignored_voxels_are_neither_foreground_nor_background() -> None:
    labels = torch.zeros(1, 1, 4, 4)
    labels[..., :2, :2] = 1
    labels[..., 2:, :] = 2
    shares = map_target(labels, (1, 1), [1], ignore_label=2)
    assert shares.foreground.item() == 0.25
    assert shares.valid.item() == 0.5
    assert shares.background.item() == 0.25


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.int16])
def test_regions_may_overlap_and_carry_the_ignore_mask_last(dtype: torch.dtype) -> None:
    masks = torch.zeros(1, 3, 4, 4)
    masks[:, 0, :2] = 1
    masks[:, 1, :1] = 1
    masks[:, 2, 3:] = 1
    shares = map_target(masks.to(dtype), (1, 1), None, ignore_label=3)
    assert shares.foreground.flatten().tolist() == [0.5, 0.25]
    assert shares.valid.item() == 0.75


def test_a_grid_that_does_not_divide_the_patch_is_an_error() -> None:
    with pytest.raises(ValueError, match="5 voxels cannot be averaged over 2 cells"):
        map_target(torch.zeros(1, 1, 5), (2,), [1], None)
