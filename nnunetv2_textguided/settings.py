"""Every hyper-parameter of the method: one frozen, validated model, read from and written to nnU-Net's plans.

The block lives in ``plans["configurations"][<configuration>]["text_guidance"]``.
How a user's partial block becomes a complete one is in presets.py.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

BLOCK = "text_guidance"
DEFAULT_PRESET = "align_refine"
MAX_WIDTH = 1 << 16
"""No text encoder's embeddings are this wide: more in plans from a stranger would only ask for memory."""

Component = Literal["alignment", "heatmap", "refiner"]


class _Model(BaseModel):
    # allow_inf_nan: a NaN passes every range check, and then silently poisons the training.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class ResolvedText(_Model):
    """What a model was told. Written by the trainer, never by hand: it makes plans and checkpoints self-contained."""

    source: str
    """The embedding file that was read."""
    file_sha256: str
    """Hash of that file."""
    prompts_sha256: str
    """Ordered hash of labels and prompts."""
    encoder: dict[str, Any]
    """Identity of the text encoder: id, revision, hashes, pooling, licence."""
    labels: list[str] = Field(min_length=1)
    """Foreground labels (or regions), in the order of nnU-Net's label manager."""
    prompts: list[str] = Field(min_length=1)
    """All prompts, those of each label first, then the context prompts."""
    prompt_label: list[int]
    """For each prompt, the index of its label; -1 for context prompts."""
    embedding_dim: int = Field(ge=1, le=MAX_WIDTH)
    """Width of a pooled text embedding."""
    num_tokens: int = Field(default=0, ge=0, le=1 << 20)
    """Number of unpadded token embeddings over all prompts; 0 unless the refiner attends to tokens."""
    token_dim: int = Field(default=0, ge=0, le=MAX_WIDTH)
    """Width of a token embedding."""
    anatomy: int = Field(default=0, ge=0)
    """How many labels, the last ones, are anatomy: aligned with the text, not segmented."""

    @model_validator(mode="after")
    def _consistent(self) -> ResolvedText:
        if len(self.prompt_label) != len(self.prompts):
            raise ValueError(f"{len(self.prompts)} prompts but {len(self.prompt_label)} entries of prompt_label")
        for index, label in enumerate(self.labels):
            if index not in self.prompt_label:
                raise ValueError(f"label {label!r} has no prompt")
        if not all(-1 <= i < len(self.labels) for i in self.prompt_label):
            raise ValueError("prompt_label points to a label that does not exist")
        order = [i if i >= 0 else len(self.labels) for i in self.prompt_label]
        if order != sorted(order):
            raise ValueError("prompts must be ordered by label, context prompts last")
        if self.anatomy >= len(self.labels):
            raise ValueError(f"all of {len(self.labels)} labels are anatomy: nothing would be segmented")
        return self

    @property
    def segmented(self) -> list[str]:
        """The labels that are segmented."""
        return self.labels[: len(self.labels) - self.anatomy]


class CaseTextSettings(_Model):
    """What a network is told of each case, from the data set's case_text.json. Experimental (docs/case_text.md)."""

    sentences: bool = False
    """Ground the case's sentences and feed their maps back into the decoder; needs grounding.enabled."""
    clinical: bool = False
    """Condition the bottleneck on PSA density, age and volume of the prostate."""
    without_text: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of patches in training that are segmented without any text, so that prediction without text works."""
    lesion_free: float = Field(default=0.3, ge=0.0, le=1.0)
    """Share of patches with text in which a case without lesion and sentences is given another case's sentence, as a
    finding that proved benign: otherwise a sentence would be proof of a lesion."""
    max_sentences: int = Field(default=4, ge=1, le=64)
    """Sentences of a case that are used at a time; of more, a random choice."""


class SupervisionSettings(_Model):
    """Losses made from reports, the targets in case_text.json, of cases without outlines (docs/reports.md)."""

    enabled: bool = False
    """Learn from them. They have nnU-Net's ignore label everywhere; validation cases need outlines."""
    labels: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Labels that reports count. None: all."""
    share: float = Field(default=0.5, gt=0.0, lt=1.0)
    """Share of training patches that are drawn from these cases."""
    weight: float = Field(default=0.5, ge=0.0)
    """Weight of the losses made from reports, at full strength."""
    start: float = Field(default=0.3, ge=0.0, le=1.0)
    """Fraction of the epochs before lesions are learned from reports; reports without lesion count from the start."""
    ramp: float = Field(default=0.2, ge=0.0, le=1.0)
    """Duration of the linear ramp of their weight, as a fraction of the epochs."""
    tolerance_mm: float = Field(default=5.0, ge=0.0, le=50.0)
    """How far outside of the reported place a lesion's centre may be, along each axis."""
    diameter_mm: float = Field(default=15.0, ge=3.0, le=150.0)
    """Largest diameter of a lesion whose report gives none."""
    outside_weight: float = Field(default=1.0, ge=0.0)
    """Weight of what is segmented outside of all reported places, relative to that of the places."""
    hardest: float = Field(default=0.01, gt=0.0, le=1.0)
    """Share of a patch's voxels, the hardest ones, that count there."""
    volume_weight: float = Field(default=1.0, ge=0.0)
    """Weight of the volume, relative to that of the places."""
    volume_factor: float = Field(default=2.0, ge=1.0)
    """The volume may differ from the reported one by this factor."""


class TextSettings(_Model):
    """Where the words come from."""

    prompts: str | None = None
    """Prompt bank: the name of a shipped bank or a JSON file. None: the bank of the embedding file that is found."""
    embeddings: str | None = None
    """Embedding file. None: the data set's own file in nnUNet_preprocessed, else the small bank in the package."""
    control: Literal["none", "random", "shuffled", "learned"] = "none"
    """Scientific control: replace the embeddings by random ones, shuffle them among prompts, or learn them."""
    control_seed: int = Field(default=0, ge=0)
    """Seed of the random and shuffled controls."""
    geometry: Literal["raw", "centred", "whitened"] = "raw"
    """Embeddings as the encoder gives them, without the mean over prompts, or made orthogonal as well."""
    case: CaseTextSettings = CaseTextSettings()
    supervision: SupervisionSettings = SupervisionSettings()
    resolved: ResolvedText | None = None
    """Filled in by the trainer."""


class EncoderSettings(_Model):
    """One image encoder per input channel, fused back to the plans' width at every level."""

    arrangement: Literal["per_channel", "single"] = "per_channel"
    """One encoder per channel (the method), or one for all channels as in stock nnU-Net."""
    width: float = Field(default=1.0, gt=0.0, le=4.0)
    """Width of each per-channel encoder relative to the plans' features."""
    shared_from_stage: int | None = Field(default=None, ge=1)
    """From this stage on, one shared trunk continues from the fused features. None: never."""
    checkpointing: Literal["none", "stages"] = "none"
    """Feature maps inside encoder stages: kept, or computed again when needed (same results, less memory, slower)."""


class AlignmentSettings(_Model):
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


class HeatmapSettings(_Model):
    """Heatmap loss: class-balanced BCE plus soft Dice."""

    weight: float = Field(default=0.5, ge=0.0)
    """lambda_heat at full strength."""
    dice_weight: float = Field(default=1.0, ge=0.0)
    """Weight of the soft Dice relative to the class-balanced BCE."""
    hard_negatives: float = Field(default=1.0, gt=0.0, le=1.0)
    """Share of the map's voxels, the most falsely activated ones, that make up the BCE's background half."""


class GroundingSettings(_Model):
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
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Dropout of the phrases' embeddings."""


class RefinerSettings(_Model):
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


class SegmentationLossSettings(_Model):
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


class ScheduleSettings(_Model):
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


class OptimiserSettings(_Model):
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


class TrainingSettings(_Model):
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


class Settings(_Model):
    """Complete settings of a text-guided training."""

    version: Literal[1] = 1
    """Version of this format."""
    preset: str = DEFAULT_PRESET
    """The preset that the block's keys override."""
    components: tuple[Component, ...] = get_args(Component)
    """Parts of the method that are used. Empty: the multi-encoder network without text."""
    text: TextSettings = TextSettings()
    encoders: EncoderSettings = EncoderSettings()
    alignment: AlignmentSettings = AlignmentSettings()
    heatmap: HeatmapSettings = HeatmapSettings()
    grounding: GroundingSettings = GroundingSettings()
    refiner: RefinerSettings = RefinerSettings()
    segmentation_loss: SegmentationLossSettings = SegmentationLossSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    training: TrainingSettings = TrainingSettings()

    @model_validator(mode="after")
    def _separable_channels(self) -> Settings:
        if self.training.channel_dropout and self.encoders.arrangement != "per_channel":
            raise ValueError(
                "training.channel_dropout needs encoders.arrangement 'per_channel': one encoder per channel"
            )
        return self

    @model_validator(mode="after")
    def _grounded(self) -> Settings:
        if not self.components and (self.grounding.enabled or self.text.case.clinical):
            raise ValueError("grounding and text.case need a network with text; components is empty")
        if self.text.case.sentences and not self.grounding.enabled:
            raise ValueError("text.case.sentences needs grounding.enabled: nothing would say where a sentence is")
        return self

    @property
    def uses_text(self) -> bool:
        """Whether the network has any text-guided part."""
        return bool(self.components)

    @property
    def fits_refiner(self) -> bool:
        """Whether the refiner is fitted, in a phase of its own, to a network that is finished by then."""
        return "refiner" in self.components and self.refiner.design == "surface"

    def block(self) -> dict[str, Any]:
        """The complete block as JSON values."""
        return self.model_dump(mode="json")
