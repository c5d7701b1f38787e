"""What the report of one sample says of its lesions, and the losses that are made of it.

Each lesion names a region, and somewhere in it the segmentation has to hold a body of the reported size; elsewhere
there is nothing; and where all sizes are known, so is the volume. After Bassi et al., MICCAI 2025, with bounded terms:
each is of order 1, as a sample's Dice loss is, so that neither empties the mask nor fills the region.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nnunetv2_textguided.losses.report_places import Gland, around, body_average, grow
from nnunetv2_textguided.settings import SupervisionSettings
from nnunetv2_textguided.text.report_target import FILLED, ReportedLesion, ReportTarget

INSIDE = 0.5
"""A region of which less lies within the patch says nothing of the patch."""
SHARPNESS = 8.0
"""Exponent of the body's probability in the soft maximum over a region."""
FLOOR = 0.1
"""Added to probabilities in logarithms: below it, the pull on a lesion that the network does not see fades."""
SEEN = 0.1
"""Voxels of a lower probability are background already: neither do they count as false nor as volume."""


@dataclass(frozen=True)
class SampleReport:
    """What the report of one sample says of its lesions.

    Attributes:
        lesions: all that it counts, those of which most is said first.
        extents: (1 + K,) voxels of the whole case: all, then those of each sector; without any, places are unknown.
    """

    lesions: tuple[ReportedLesion, ...]
    extents: tuple[int, ...]

    @classmethod
    def of(cls, target: ReportTarget, extents: Sequence[int]) -> SampleReport:
        """Of a report's target, whose counted lesions are as many as described ones or more."""
        described = sorted(target.findings, key=lambda one: -one.words_of_place)
        others = [ReportedLesion()] * (target.lesions - len(described))
        return cls((*described, *others), tuple(map(int, extents)))

    @property
    def has_places(self) -> bool:
        """Whether the case has any sector."""
        return any(self.extents[1:])


class SampleTerms(NamedTuple):
    """One sample's terms, all scalars.

    Attributes:
        place: sum over the regions within the patch.
        regions: how many these are.
        outside: of the hardest voxels outside of all regions.
        volume: 0 where it is not known.
        measured: 1 where it is known, else 0.
    """

    place: Tensor
    regions: Tensor
    outside: Tensor
    volume: Tensor
    measured: Tensor

    def total(self, settings: SupervisionSettings) -> Tensor:
        """Their weighted sum; the places count as their mean."""
        place = self.place / self.regions.clamp(min=1)
        return place + settings.outside_weight * self.outside + settings.volume_weight * self.volume


def lesion_logits(logits: Tensor, channels: Sequence[int]) -> Tensor:
    """(B, *S) logits of any of some classes against all others, of (B, O, *S) class logits."""
    others = [channel for channel in range(logits.shape[1]) if channel not in channels]
    return logits[:, list(channels)].logsumexp(dim=1) - logits[:, others].logsumexp(dim=1)


def sample_terms(
    logits: Tensor,
    sectors: Tensor | None,
    report: SampleReport,
    spacing: Sequence[float],
    settings: SupervisionSettings,
) -> SampleTerms:
    """The terms of one sample with lesions.

    Each lesion takes the best place that none before it has taken, those of which most is said first; what is counted
    and not described may be anywhere in the gland, or in the patch where places are unknown.

    Args:
        logits: (Z, Y, X) logits of a lesion.
        sectors: (Z, Y, X) map of sectors; None: places are unknown.
        report: what is said.
        spacing: of a voxel, mm, for each axis of S.
        settings: of these losses.
    """
    probability = torch.sigmoid(logits)
    gland = None if sectors is None or not report.has_places else Gland(sectors, report.extents, spacing)
    free = torch.ones_like(logits, dtype=torch.bool)
    inside = torch.zeros_like(free)
    place = regions = reported = logits.new_zeros(())
    for lesion in report.lesions:
        diameter = lesion.diameter_mm or settings.diameter_mm
        region, share = _anywhere(logits, report) if gland is None else gland.region(lesion.sector)
        known = (share >= INSIDE).to(logits.dtype)
        body = body_average(probability, diameter, spacing)
        loss, best = place_loss(body, grow(region, settings.tolerance_mm, spacing) & free)
        free = free & ~around(best, logits.shape, diameter, spacing)
        inside = inside | grow(region, settings.tolerance_mm + diameter / 2, spacing)
        place, regions = place + known * loss, regions + known
        reported = reported + FILLED * math.pi / 6 * diameter**3
    measured = (regions == len(report.lesions)).to(logits.dtype)
    measured = measured * all(lesion.diameter_mm is not None for lesion in report.lesions)
    seen = probability * (probability.detach() > SEEN)
    volume = volume_loss((seen * inside).sum() * math.prod(spacing), reported, settings.volume_factor)
    outside = outside_loss(logits, probability, ~inside, settings.hardest)
    return SampleTerms(place, regions, outside, measured * volume, measured)


def place_loss(body: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:
    """How little there is of a body anywhere in a region: 0 (all of it) to 1 (nothing).

    The soft maximum's weights are constants in the gradient: they say which place the network means, and the loss
    improves that place.

    Args:
        body: (Z, Y, X) mean probability over the body around each voxel.
        region: (Z, Y, X) bool, where its centre may be.

    Returns:
        The loss, 0 for an empty region, and the best place, an index into the flattened S.
    """
    values, allowed = body.flatten(), region.flatten()
    scores = (SHARPNESS * values.detach().clamp(min=1e-6).log()).masked_fill(~allowed, -1e4)
    losses = torch.log((1 + FLOOR) / (values + FLOOR)) / math.log((1 + FLOOR) / FLOOR)
    return (scores.softmax(dim=0) * losses).sum() * allowed.any(), scores.argmax()


def outside_loss(logits: Tensor, probability: Tensor, outside: Tensor, hardest: float) -> Tensor:
    """Mean cross-entropy against background of the hardest voxels, those that are background already being right.

    Args:
        logits: (Z, Y, X) logits of a lesion.
        probability: (Z, Y, X) the same as probability.
        outside: (Z, Y, X) bool, where there is none.
        hardest: share of all voxels.
    """
    losses = (F.softplus(logits) * (outside & (probability.detach() > SEEN))).flatten()
    return losses.topk(max(1, round(hardest * losses.numel())), sorted=False).values.mean()


def volume_loss(volume: Tensor, reported: Tensor, factor: float) -> Tensor:
    """How far a volume is from a reported one, beyond a factor; of order 1, its gradient bounded at either end.

    Args:
        volume: scalar, what is segmented.
        reported: scalar, in the same unit.
        factor: by which they may differ.
    """
    ratio = (volume + FLOOR * reported) / ((1 + FLOOR) * reported).clamp(min=1e-6)
    off = (ratio.clamp(min=1e-6).log().abs() - math.log(factor)).clamp(min=0)
    return off / math.log((1 + FLOOR) / FLOOR)


def _anywhere(logits: Tensor, report: SampleReport) -> tuple[Tensor, Tensor]:
    share = logits.numel() / max(report.extents[0], 1)
    return torch.ones_like(logits, dtype=torch.bool), logits.new_tensor(share)
