"""Settings of the text: where the words come from, what is told of each case, what is learned from reports."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from nnunetv2_textguided.settings.base import Frozen

MAX_WIDTH = 1 << 16
"""No text encoder's embeddings are this wide: more in plans from a stranger would only ask for memory."""


class ResolvedText(Frozen):
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
    word_dim: int = Field(default=0, ge=0, le=MAX_WIDTH)
    """Width of the token embeddings that grounding reads; 0: of each text it reads one embedding, or nothing."""
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
    def text_dim(self) -> int:
        """Width of what grounding reads of a text: its tokens, or the embedding of all of it."""
        return self.word_dim or self.embedding_dim

    @property
    def segmented(self) -> list[str]:
        """The labels that are segmented."""
        return self.labels[: len(self.labels) - self.anatomy]


class CaseTextSettings(Frozen):
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


class SupervisionSettings(Frozen):
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


class TextSettings(Frozen):
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
