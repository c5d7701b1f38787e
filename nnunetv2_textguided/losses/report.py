"""Losses made from reports: where a case without outlines has its lesions, how many, and how large (docs/reports.md).

A report without lesion is as good as an outline: its sample becomes background. What one with lesions teaches is in
sample_report.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nnunetv2_textguided.losses.sample_report import SampleReport, lesion_logits, sample_terms
from nnunetv2_textguided.settings import SupervisionSettings


class ReportTerms(NamedTuple):
    """A step's losses from reports, all scalars; the parts are NaN where no sample has them.

    Attributes:
        weighted: the sum over samples, divided by the size of the batch; the only one with a gradient.
        place: mean over lesions of how little there is of a body in their region, 0 to 1.
        outside: mean over samples of what is segmented outside of all regions.
        volume: mean over samples of how far the volume is off.
    """

    weighted: Tensor
    place: Tensor
    outside: Tensor
    volume: Tensor


@dataclass(frozen=True)
class BatchReports:
    """The reports of a batch, and the losses that are made of them.

    Attributes:
        samples: of each sample; None: it has an outline, or no lesion.
        negative: samples whose report counts no lesion.
        settings: of these losses.
        weight: of these losses in this epoch.
        spacing: of a voxel, mm, for each axis.
        channels: output channels that reports count.
        ignore_label: the value of the ignore label.
        sectors: whether the second channel of the targets is a map of sectors.
    """

    samples: tuple[SampleReport | None, ...]
    negative: tuple[bool, ...]
    settings: SupervisionSettings
    weight: float
    spacing: tuple[float, ...]
    channels: tuple[int, ...]
    ignore_label: int
    sectors: bool

    def with_negatives(self, target: list[Tensor] | Tensor) -> Any:
        """nnU-Net's target, in which the samples without lesion are background instead of ignored.

        Args:
            target: (B, 1 or 2, *S) label maps and perhaps sectors, or a list of them.
        """
        if not any(self.negative):
            return target
        if isinstance(target, list):
            return [self.with_negatives(part) for part in target]
        labels = target[:, :1]
        certain = torch.tensor(self.negative, device=target.device).view(-1, *(1,) * (target.ndim - 1))
        return torch.cat([labels.masked_fill(certain & (labels == self.ignore_label), 0), target[:, 1:]], dim=1)

    def __call__(self, logits: Tensor, target: Tensor) -> ReportTerms:
        """Losses of full-resolution logits.

        Args:
            logits: (B, O, *S), of classes.
            target: (B, 1 or 2, *S), of the same resolution; only the sectors are read.
        """
        # float32 also under autocast: sums over a volume overflow half precision.
        with torch.autocast(logits.device.type, enabled=False):
            lesion = lesion_logits(logits.float(), self.channels)
            sectors = target[:, 1] if self.sectors else None
            found = [
                sample_terms(lesion[i], None if sectors is None else sectors[i], report, self.spacing, self.settings)
                for i, report in enumerate(self.samples)
                if report is not None
            ]
            zero, unknown = lesion.new_zeros(()), lesion.new_full((), math.nan)
            if not found:
                return ReportTerms(zero, unknown, unknown, unknown)
            total = torch.stack([one.total(self.settings) for one in found]).sum() / len(logits)
            terms = torch.stack([torch.stack([*one]).detach() for one in found])
            placed, regions, outside, volume, measured = terms.unbind(dim=1)
            # 0 / 0 is the NaN that is wanted here: no region, no mean.
            return ReportTerms(
                self.weight * total,
                placed.sum() / regions.sum(),
                outside.mean(),
                volume.sum() / measured.sum(),
            )
