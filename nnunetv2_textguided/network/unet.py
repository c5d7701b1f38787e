"""AlignRefineUNet: the plans' U-Net with one encoder per channel, an alignment head and a text-guided refiner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nnunetv2_textguided.errors import NetworkError
from nnunetv2_textguided.network.alignment import AlignmentHead
from nnunetv2_textguided.network.backbone import choose_stage, features_of_each_stage, locate_backbone
from nnunetv2_textguided.network.balance import balanced
from nnunetv2_textguided.network.clinical import ClinicalConditioning
from nnunetv2_textguided.network.encoders import MultiEncoder
from nnunetv2_textguided.network.explanation import Explanation, heatmap_of
from nnunetv2_textguided.network.feature_maps import count_alignment, count_encoder
from nnunetv2_textguided.network.grounding import CaseInput, Grounded, GroundingHead
from nnunetv2_textguided.network.normalisation import join_activations
from nnunetv2_textguided.network.refiner import TextRefiner
from nnunetv2_textguided.settings import ResolvedText, Settings
from nnunetv2_textguided.settings_block import complete_settings

Segmentation = Tensor | list[Tensor]


class AlignRefineUNet(nn.Module):
    """Text-guided U-Net composed of dynamic-network-architectures parts (paper section II; docs/method.md, Network).

    `forward(x)` is what nnU-Net expects of any network: a list of logits, finest first, with deep supervision, else
    one tensor. Text embeddings, alpha and all thresholds are part of the module, so prediction uses the text and needs
    no text encoder.

    Args:
        input_channels: image channels.
        num_classes: segmentation heads (classes with background, or regions).
        backbone: import path of the plans' network class, PlainConvUNet or ResidualEncoderUNet.
        text_guidance: the complete settings, with `text.resolved` if text is used; plans that name this class have them
            as a block.
        deep_supervision: return the logits of every decoder stage.
        arch_kwargs: the plans' architecture arguments, passed through to the backbone.

    Raises:
        NetworkError: the backbone is not one of the two families, or text and heads do not fit together.
        SettingsError: the block is not valid or not complete.
    """

    encoder: MultiEncoder
    decoder: Any
    text_embeddings: Tensor
    text_tokens: Tensor

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        *,
        backbone: str,
        text_guidance: Settings | Mapping[str, Any],
        deep_supervision: bool = False,
        **arch_kwargs: Any,
    ) -> None:
        super().__init__()
        settings = text_guidance if isinstance(text_guidance, Settings) else complete_settings(text_guidance)
        backbone_class = locate_backbone(backbone)

        def build(channels: int, features: Sequence[int]) -> Any:
            kwargs = {**arch_kwargs, "features_per_stage": list(features)}
            network: nn.Module = backbone_class(
                input_channels=channels, num_classes=num_classes, deep_supervision=deep_supervision, **kwargs
            )
            return network.apply(backbone_class.initialize)

        features = features_of_each_stage(arch_kwargs["features_per_stage"], arch_kwargs["n_stages"])
        self.encoder = MultiEncoder(
            lambda channels, widths: build(channels, widths).encoder,
            input_channels,
            features,
            settings.encoders.arrangement,
            settings.encoders.width,
            settings.encoders.shared_from_stage,
            settings.encoders.checkpointing,
        )
        self.decoder = build(1, features).decoder
        # The upstream decoder keeps its encoder as a submodule, only to read sizes from it: the weights would be in
        # every checkpoint twice.
        strides, widths = self.encoder.strides, self.encoder.output_channels
        del self.decoder.encoder
        self.decoder.encoder = SimpleNamespace(strides=strides, output_channels=widths)
        join_activations(self)

        self.num_segmented = 0
        self.alignment: AlignmentHead | None = None
        self.refiner: TextRefiner | None = None
        self.grounding: GroundingHead | None = None
        self.clinical: ClinicalConditioning | None = None
        self.alignment_stage = choose_stage(strides, settings.alignment.stage, settings.alignment.max_stride)
        self.gradient_ratio = settings.alignment.gradient_ratio if settings.uses_text else None
        if settings.uses_text:
            self._build_text_parts(settings, num_classes)

    def _build_text_parts(self, settings: Settings, num_classes: int) -> None:
        text = settings.text.resolved
        if text is None:
            raise NetworkError(
                "The plans use text guidance but do not say which prompts.",
                where="text_guidance.text.resolved",
                remedy="Train with a trainer of this package, which fills it in, or use the model folder's plans.",
            )
        labels, segmented = len(text.labels), len(text.segmented)
        if num_classes not in (segmented, segmented + 1):
            raise NetworkError(
                f"The text names {segmented} labels, but the network has {num_classes} segmentation heads.",
                where="text_guidance.text.resolved.labels",
                remedy="Labels must be the data set's foreground labels or regions; train again or run encode.",
            )
        self.num_segmented = segmented
        self._register_text(text, learned=settings.text.control == "learned")
        widths, alignment = self.encoder.output_channels, settings.alignment
        self.alignment = AlignmentHead(
            widths[-(self.alignment_stage + 2)],
            text.embedding_dim,
            [text.prompt_label.count(label) for label in range(labels)],
            text.prompt_label.count(-1),
            alignment.projection_dim,
            alignment.initial_scale,
            alignment.max_scale,
            alignment.prior,
            widths[-1] if alignment.conditioning == "image" else None,
            alignment.feedback,
        )
        if settings.grounding.enabled:
            options = settings.grounding.model_dump(include={"dim", "hidden", "dropout"})
            feedback = settings.text.case.sentences
            width = widths[-(self.alignment_stage + 2)]
            self.grounding = GroundingHead(width, text.embedding_dim, feedback=feedback, **options)
        if settings.text.case.clinical:
            self.clinical = ClinicalConditioning(widths[-1])
        if "refiner" in settings.components:
            options = settings.refiner.model_dump(exclude={"tokens", "alpha"})
            token_dim = text.token_dim if text.num_tokens else text.embedding_dim
            self.refiner = TextRefiner(widths[0], token_dim, labels, has_regions=num_classes == segmented, **options)

    def _register_text(self, text: ResolvedText, learned: bool) -> None:
        """Room for the embeddings; shapes come from the plans, so that strict loading of checkpoints works."""
        shapes = {
            "text_embeddings": (len(text.prompts), text.embedding_dim),
            "text_tokens": (text.num_tokens, text.token_dim),
        }
        for name, shape in shapes.items():
            if learned:
                # Unit length on average, like the normalised embeddings that they replace.
                self.register_parameter(name, nn.Parameter(torch.randn(shape) * max(shape[1], 1) ** -0.5))
            else:
                self.register_buffer(name, torch.zeros(shape))

    @torch.no_grad()
    def set_text(self, pooled: Tensor, tokens: Tensor | None = None) -> None:
        """Replace the embeddings: `pooled` (K, embedding_dim), and `tokens` (N, token_dim) if the refiner sees them.

        Raises:
            NetworkError: a shape differs from what the plans say.
        """
        for name, value in (("text_embeddings", pooled), ("text_tokens", tokens)):
            target: Tensor = getattr(self, name)
            if value is None:
                value = target.new_empty(0, target.shape[1])
            if value.shape != target.shape:
                raise NetworkError(
                    f"The network was built for {name} of shape {tuple(target.shape)}, not {tuple(value.shape)}.",
                    where="text_guidance.text.resolved",
                    remedy="Use the embedding file that the plans name, or train a new model.",
                )
            target.copy_(value)

    def forward(self, x: Tensor, return_similarity: bool = False, text: CaseInput | None = None) -> Any:
        """Segment.

        Args:
            x: (B, channels, *S) image.
            return_similarity: also return the similarity logits.
            text: what is told of the cases; None: nothing, which is the same as a text that says nothing.

        Returns:
            Logits (B, heads, *S), or a list of logits, finest first, with deep supervision; with `return_similarity`
            a pair with the (B, C, *s) similarity logits at the alignment stage (None for a network without text), and
            with `text`, too, a triple with what was grounded (Grounded).
        """
        outputs, similarity, finest, grounded = self.decode(self.encode(x, text), return_similarity, text)
        if self.refiner is not None and similarity is not None:
            outputs[0] = self.refiner(outputs[0], finest, similarity, self.tokens, self.decoder.seg_layers[-1])
        segmentation: Segmentation = outputs if self.decoder.deep_supervision else outputs[0]
        if not return_similarity:
            return segmentation
        return (segmentation, similarity) if text is None else (segmentation, similarity, grounded)

    def encode(self, x: Tensor, text: CaseInput | None = None) -> list[Tensor]:
        """The encoder's features, finest first, the bottleneck's conditioned on the clinical facts."""
        skips: list[Tensor] = list(self.encoder(x))
        if self.clinical is not None and text is not None and text.facts is not None:
            skips[-1] = self.clinical(skips[-1], text.facts)
        return skips

    def decode(
        self, skips: list[Tensor], explained: bool, text: CaseInput | None = None
    ) -> tuple[list[Tensor], Tensor | None, Tensor, Grounded]:
        """The plans' decoder, step by step as in its own forward, with the text's parts at their stage.

        Returns:
            Logits, finest first; similarity logits, None where nobody asks for them; features of the finest stage; what
            was grounded.
        """
        x, outputs = skips[-1], []
        similarity, grounded = None, Grounded()
        stages = len(self.decoder.stages)
        for stage in range(stages):
            x = torch.cat((self.decoder.transpconvs[stage](x), skips[-(stage + 2)]), 1)
            x = self.decoder.stages[stage](x)
            if stage == self.alignment_stage and self.alignment is not None:
                x, guiding = balanced(x, self.gradient_ratio)
                # Where the head serves only the losses, prediction does not run it.
                if explained or self.refiner is not None or self.alignment.feedback is not None:
                    similarity = self.alignment(guiding, self.text_embeddings, skips[-1])
                    x = self.alignment.feed_back(x, similarity)
                if self.grounding is not None and text is not None:
                    x, grounded = self.grounding.read(x, guiding, text)
            if self.decoder.deep_supervision or stage == stages - 1:
                outputs.append(self.decoder.seg_layers[stage](x))
        return outputs[::-1], similarity, x, grounded

    @property
    def tokens(self) -> Tensor:
        """(N, D) what the refiner attends to: token embeddings, or one embedding per prompt."""
        return self.text_tokens if self.text_tokens.shape[0] else self.text_embeddings

    @torch.no_grad()
    def explain(self, x: Tensor, text: CaseInput | None = None) -> Explanation:
        """What the text does to (B, channels, *S) images; `text`: what is told of them.

        Raises:
            NetworkError: this network has no text.
        """
        if self.alignment is None:
            raise NetworkError("This network was trained without text: there is nothing to explain.")
        outputs, similarity, finest, _ = self.decode(self.encode(x, text), explained=True, text=text)
        assert similarity is not None  # asked for, and there is text
        logits = outputs[0]
        gate, change = torch.zeros_like(logits[:, :1], dtype=torch.bool), torch.zeros_like(logits)
        if self.refiner is not None:
            chosen = self.refiner.gate(logits)
            refined = self.refiner(logits, finest, similarity, self.tokens, self.decoder.seg_layers[-1])
            gate = gate.flatten(2).scatter(2, chosen.places[:, None], chosen.open[:, None]).view_as(gate)
            logits, change = refined, refined - logits
        heatmap = heatmap_of(self.alignment, similarity[:, : self.num_segmented], x.shape[2:])
        return Explanation(logits, heatmap, gate, change, self.alignment.scale)

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> np.int64:
        """Elements of all feature maps for one patch of `input_size` voxels, as nnU-Net's planners count them."""
        total: np.int64 = self.decoder.compute_conv_feature_map_size(input_size)
        total += count_encoder(self.encoder, input_size)
        if self.alignment is not None:
            stride = np.prod(self.encoder.strides[: -(self.alignment_stage + 1)], axis=0, dtype=int)
            total += count_alignment(self.alignment, len(self.text_embeddings), np.array(input_size) // stride)
        return total
