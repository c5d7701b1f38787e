"""Settings of the training: segmentation loss, phases, optimiser, length and sampling."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from nnunetv2_textguided.settings.base import Frozen


class SegmentationLossSettings(Frozen):
    """Segmentation loss. Dice with cross-entropy is nnU-Net's own."""

    region: Literal["dice", "tversky", "focal_tversky", "none"] = "dice"
    """Region term."""
    voxel: Literal["ce", "topk", "focal", "none"] = "ce"
    """Voxel term (cross-entropy; binary cross-entropy for regions)."""
    tversky_alpha: float = Field(default=0.3, ge=0.0)
    """Weight of false positives in the Tversky index."""
    tversky_beta: float = Field(default=0.7, ge=0.0)
    """Weight of false negatives in the Tversky index."""
    focal_tversky_gamma: float = Field(default=1.5, gt=0.0)
    """Exponent of the focal Tversky loss."""
    topk_percent: float = Field(default=10.0, gt=0.0, le=100.0)
    """Share of the hardest voxels that the top-k cross-entropy averages."""
    focal_gamma: float = Field(default=2.0, ge=0.0)
    """Exponent of the focal cross-entropy; 0 is cross-entropy."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Label smoothing of the voxel term."""

    @model_validator(mode="after")
    def _something(self) -> SegmentationLossSettings:
        if self.region == "none" and self.voxel == "none":
            raise ValueError("region and voxel are both 'none': nothing would be learned")
        if self.label_smoothing and self.region == "dice" and self.voxel == "ce":
            raise ValueError("nnU-Net's own Dice+CE has no label_smoothing; choose another region or voxel term")
        return self


class ScheduleSettings(Frozen):
    """Phases, as fractions of the number of epochs, so that short trainings scale."""

    warmup: float = Field(default=0.1, ge=0.0, le=1.0)
    """Segmentation only until here."""
    ramp: float = Field(default=0.1, ge=0.0, le=1.0)
    """Duration of the linear ramp of the auxiliary losses."""
    dynamic: bool = False
    """Wait with the ramp until the training loss is stable or the EMA Dice passes a threshold."""
    latest_ramp_start: float = Field(default=0.2, ge=0.0, le=1.0)
    """With dynamic: the ramp starts here at the latest."""
    stable_change: float = Field(default=0.05, ge=0.0)
    """With dynamic: relative change of the loss between two windows that counts as stable."""
    stable_window: int = Field(default=5, ge=1)
    """With dynamic: epochs per window."""
    ema_dice: float = Field(default=0.3, ge=0.0, le=1.0)
    """With dynamic: EMA pseudo Dice that starts the ramp."""
    refine: float = Field(default=0.9, ge=0.0, le=1.0)
    """The refine phase starts here; 1 is never. The surface refiner is then fitted to the finished network."""
    refine_ramp: float = Field(default=0.1, ge=0.0, le=1.0)
    """Attention refiner: duration of the linear ramp of alpha."""
    auxiliary_in_refine: float = Field(default=1.0, ge=0.0, le=1.0)
    """Factor of the auxiliary losses once the refine phase is reached (faded linearly over refine_ramp)."""

    @model_validator(mode="after")
    def _ordered(self) -> ScheduleSettings:
        start = self.latest_ramp_start if self.dynamic else self.warmup
        if self.warmup > start:
            raise ValueError(f"warmup {self.warmup:g} is after latest_ramp_start {self.latest_ramp_start:g}")
        if start + self.ramp > self.refine + 1e-9:
            raise ValueError(f"the ramp ends at {start + self.ramp:g}, after the refine phase starts ({self.refine:g})")
        return self


class OptimiserSettings(Frozen):
    """nnU-Net's SGD with one parameter group per part of the network, each with its own polynomial decay."""

    lr: float = Field(default=1e-2, gt=0.0)
    """Initial learning rate of the backbone."""
    text_lr: float = Field(default=1e-2, gt=0.0)
    """Initial learning rate of the alignment head."""
    refiner_lr: float = Field(default=0.02, gt=0.0)
    """Initial learning rate of the refiner, which decays from the start of the refine phase."""
    refiner_momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    """Nesterov momentum of the refiner."""
    weight_decay: float = Field(default=3e-5, ge=0.0)
    """Weight decay of backbone and alignment head. The refiner's is 0: before alpha rises it would only shrink."""
    momentum: float = Field(default=0.99, ge=0.0, lt=1.0)
    """Nesterov momentum."""
    power: float = Field(default=0.9, gt=0.0)
    """Exponent of the polynomial decay."""


class TrainingSettings(Frozen):
    """Length and sampling. None: nnU-Net's own value."""

    epochs: int | None = Field(default=None, ge=1)
    """Number of epochs."""
    iterations_per_epoch: int | None = Field(default=None, ge=1)
    """Training iterations per epoch."""
    val_iterations_per_epoch: int | None = Field(default=None, ge=1)
    """Validation iterations per epoch."""
    save_every: int | None = Field(default=None, ge=1)
    """Epochs between two writes of checkpoint_latest.pth."""
    oversample_foreground: float | None = Field(default=None, ge=0.0, le=1.0)
    """Share of patches that contain foreground."""
    probabilistic_oversampling: bool | None = None
    """Draw that share at random for each patch instead of fixing it per batch."""
    channel_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Probability of each image channel to be left out of a training image; never all. Above 0, the model can predict
    patients who lack a channel (--missing allow), at a price: see docs/evidence.md, "Without a channel"."""
    seed: int | None = Field(default=None, ge=0, lt=2**32)
    """Seed of initial weights and of what the training process draws. None: drawn, and logged. nnU-Net's background
    processes that draw and augment patches seed themselves, so that two trainings of one seed still differ."""
    nonfinite_patience: int = Field(default=10, ge=1)
    """Stop after this many consecutive iterations with a non-finite loss."""
