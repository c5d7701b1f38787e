"""Settings of the network: image encoders, alignment head, grounding and refiner, with their own losses' weights."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from nnunetv2_textguided.settings.base import Frozen


class EncoderSettings(Frozen):
    """One image encoder per input channel, fused back to the plans' width at every level."""

    arrangement: Literal["per_channel", "single"] = "per_channel"
    """One encoder per channel (the method), or one for all channels as in stock nnU-Net."""
    width: float = Field(default=1.0, gt=0.0, le=4.0)
    """Width of each per-channel encoder relative to the plans' features."""
    shared_from_stage: int | None = Field(default=None, ge=1)
    """From this stage on, one shared trunk continues from the fused features. None: never."""
    checkpointing: Literal["none", "stages"] = "none"
    """Feature maps inside encoder stages: kept, or computed again when needed (same results, less memory, slower)."""


class AlignmentSettings(Frozen):
    """Alignment head and alignment loss."""

    stage: int | None = Field(default=None, ge=0)
    """Decoder stage whose features meet the text (0: the one above the bottleneck). None: by max_stride."""
    max_stride: int = Field(default=4, ge=1)
    """With stage None: the coarsest decoder stage whose in-plane stride is at most this."""
    projection_dim: int = Field(default=64, ge=1)
    """Width of the space in which image features and text meet."""
    initial_scale: float = Field(default=1 / 0.07, gt=0.0)
    """Initial value of the learned scale a of the cosine (CLIP's)."""
    max_scale: float = Field(default=100.0, gt=0.0)
    """Cap of the learned scale."""
    prior: float = Field(default=0.01, gt=0.0, lt=1.0)
    """Foreground prior to which the bias b_c is initialised."""
    conditioning: Literal["none", "image"] = "none"
    """Prompts as they are, or after attention to the bottleneck's features: then they differ between images."""
    negatives: Literal["context", "all"] = "context"
    """What a label's prompts compete with: the context prompts alone, or the prompts of all other labels and structures
    as well (not where regions overlap)."""
    anatomy: bool = False
    """Align the anatomy of dataset.json with prompts of its own, where the data set has any (docs/method.md)."""
    feedback: bool = False
    """Pass the similarity maps back into the decoder, whose later stages then segment with them."""
    weight: float = Field(default=0.2, ge=0.0)
    """lambda_align at full strength."""
    gradient_ratio: float | None = Field(default=0.5, gt=0.0)
    """Bound of the text losses' gradient at the decoder stage, relative to the segmentation loss's. None: no bound."""

    @model_validator(mode="after")
    def _scale(self) -> AlignmentSettings:
        if self.initial_scale > self.max_scale:
            raise ValueError(f"initial_scale {self.initial_scale:g} exceeds max_scale {self.max_scale:g}")
        return self


class HeatmapSettings(Frozen):
    """Heatmap loss: class-balanced BCE plus soft Dice."""

    weight: float = Field(default=0.5, ge=0.0)
    """lambda_heat at full strength."""
    dice_weight: float = Field(default=1.0, ge=0.0)
    """Weight of the soft Dice relative to the class-balanced BCE."""
    hard_negatives: float = Field(default=1.0, gt=0.0, le=1.0)
    """Share of the map's voxels, the most falsely activated ones, that make up the BCE's background half."""


class GroundingSettings(Frozen):
    """Where phrases such as "left peripheral zone" are in the image, learned from the zones of `anatomy`."""

    enabled: bool = False
    """Learn it. Mirroring is then off in training and prediction, and images are turned by 30 degrees at most: phrases
    name sides and directions."""
    phrases: int = Field(default=128, ge=1, le=1024)
    """Phrases that are drawn anew in each iteration."""
    weight: float = Field(default=0.5, ge=0.0)
    """Weight of the grounding loss, from the first epoch on."""
    dice_weight: float = Field(default=1.0, ge=0.0)
    """Weight of the soft Dice of sectors relative to their cross-entropy."""
    hidden: int = Field(default=128, ge=1)
    """Width of the hidden layers on either side."""
    dropout: float = Field(default=0.3, ge=0.0, lt=1.0)
    """Dropout of the phrases' embeddings."""


class RefinerSettings(Frozen):
    """Refiner: local edits of the logits where the segmentation is undecided, or the paper's attention."""

    design: Literal["surface", "attention"] = "surface"
    """"surface": voxels near the decision surface, changed by their neighbourhood and the text, with a loss of its own.
    "attention": the paper's, the most confident voxels attend to the text; learns from the segmentation loss."""
    heads: int = Field(default=4, ge=1)
    """Attention heads."""
    dim: int = Field(default=64, ge=1)
    """Width of queries, keys and values; a multiple of heads."""
    hidden: int = Field(default=128, ge=1)
    """Surface: width of the layer that reads a voxel's neighbourhood."""
    tokens: Literal["none", "pooled", "tokens"] = "pooled"
    """Attend to one embedding per prompt, to every token of every prompt, or to none (surface only)."""
    alpha: float = Field(default=1.0, ge=0.0)
    """Strength of the refinement at the end of its ramp."""
    max_fraction: float = Field(default=0.02, gt=0.0, le=1.0)
    """At most this fraction of a patch is refined."""
    prediction_fraction: float = Field(default=0.05, gt=0.0, le=1.0)
    """Surface: the same at prediction. Windows that overlap agree where no patch has more voxels in the band."""
    band: float = Field(default=3.0, gt=0.0)
    """Surface: voxels whose decision is less than this many logits away from another one are refined."""
    bound: float = Field(default=4.0, gt=0.0)
    """Surface: largest change in logits."""
    weight: float = Field(default=1.0, ge=0.0)
    """Surface: weight of the refiner's own loss, from which nothing else learns."""
    ce_weight: float = Field(default=0.3, ge=0.0)
    """Surface: weight of the gated voxels' cross-entropy beside the Dice in that loss."""
    border_weight: float = Field(default=1.0, ge=0.0)
    """Surface: what voxels next to another label count in the cross-entropy beyond 1."""
    tau: float = Field(default=0.3, ge=0.0, lt=1.0)
    """Attention: only voxels whose base foreground probability exceeds tau are refined."""
    gamma: float = Field(default=0.1)
    """Attention: initial value of the tanh gate. Not 0: with the zero-initialised projection nothing would learn."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Attention: dropout of the attention weights."""

    @model_validator(mode="before")
    @classmethod
    def _first_releases(cls, given: Any) -> Any:
        """A complete block from before there were two designs has every key but `design`: it is the paper's."""
        if (
            isinstance(given, dict)
            and {"gamma", "tau", "max_fraction", "dropout"} <= given.keys()
            and "design" not in given
        ):
            return {**given, "design": "attention"}
        return given

    @model_validator(mode="after")
    def _learnable(self) -> RefinerSettings:
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} is not a multiple of heads {self.heads}")
        if self.design == "attention" and self.tokens == "none":
            raise ValueError('the attention design needs text: tokens must be "pooled" or "tokens"')
        if self.gamma == 0:
            raise ValueError("gamma must not be 0: with the zero-initialised projection the refiner could never learn")
        return self
