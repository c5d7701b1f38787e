"""AlignRefineUNet: the plans' U-Net with one encoder per channel, an alignment head and a text-guided refiner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nnunetv2_textguided.errors import NetworkError
from nnunetv2_textguided.network.alignment import AlignmentHead
from nnunetv2_textguided.network.attention_refiner import AttentionRefiner
from nnunetv2_textguided.network.backbone import build_backbone, choose_stage
from nnunetv2_textguided.network.balance import balanced
from nnunetv2_textguided.network.clinical import ClinicalConditioning
from nnunetv2_textguided.network.encoders import MultiEncoder
from nnunetv2_textguided.network.explanation import Explanation, explanation_of
from nnunetv2_textguided.network.feature_maps import count_alignment, count_encoder
from nnunetv2_textguided.network.gate import Refinement
from nnunetv2_textguided.network.grounding import CaseInput, Grounded, GroundingHead
from nnunetv2_textguided.network.guided import Decoded, Guided, Segmentation
from nnunetv2_textguided.network.normalisation import join_activations
from nnunetv2_textguided.network.refiner import RefinerInput, SurfaceRefiner
from nnunetv2_textguided.network.text_parts import build_alignment, build_grounding, build_refiner, text_of
from nnunetv2_textguided.settings import ResolvedText, Settings
from nnunetv2_textguided.settings.validation import complete_settings


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

    Attributes:
        refiner_waits: training passes leave the refiner out: it has yet to act and to learn. Set by each phase.
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
        kwargs = {"num_classes": num_classes, "deep_supervision": deep_supervision, **arch_kwargs}
        self.encoder, self.decoder = build_backbone(backbone, kwargs, input_channels, settings)
        join_activations(self)

        alignment = settings.alignment
        self.input_channels, self.num_segmented = input_channels, 0
        self.alignment: AlignmentHead | None = None
        self.refiner: SurfaceRefiner | AttentionRefiner | None = None
        self.refiner_waits = False
        self.grounding: GroundingHead | None = None
        self.clinical: ClinicalConditioning | None = None
        self.alignment_stage = choose_stage(self.encoder.strides, alignment.stage, alignment.max_stride)
        self.gradient_ratio = alignment.gradient_ratio if settings.uses_text else None
        if settings.uses_text:
            self._build_text_parts(settings, text_of(settings, num_classes), num_classes)

    def _build_text_parts(self, settings: Settings, text: ResolvedText, num_classes: int) -> None:
        self.num_segmented = len(text.segmented)
        self._register_text(text, learned=settings.text.control == "learned")
        widths = self.encoder.output_channels
        features = widths[-(self.alignment_stage + 2)]
        self.alignment = build_alignment(settings.alignment, text, features, widths[-1], num_classes)
        if settings.grounding.enabled:
            stride = self.encoder.strides[-(self.alignment_stage + 2)]
            self.grounding = build_grounding(settings, text, features, stride)
        if settings.text.case.clinical:
            self.clinical = ClinicalConditioning(widths[-1])
        if "refiner" in settings.components:
            dims = self.decoder.seg_layers[-1].weight.ndim - 2
            read = (self.input_channels, widths[0], widths[1])
            self.refiner = build_refiner(settings.refiner, text, read, num_classes, dims)

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

    def forward(
        self,
        x: Tensor,
        return_similarity: bool = False,
        return_refinement: bool = False,
        text: CaseInput | None = None,
    ) -> Any:
        """Segment.

        Args:
            x: (B, channels, *S) image.
            return_similarity: also return the similarity logits.
            return_refinement: leave the refinement out of the logits and return it beside them.
            text: what is told of the cases; None: nothing, which is the same as a text that says nothing.

        Returns:
            Logits (B, heads, *S), or a list of logits, finest first, with deep supervision; with `return_similarity`
            a pair with the (B, C, *s) similarity logits at the alignment stage (None for a network without text);
            with `return_refinement`, or `return_similarity` and `text`, Guided.
        """
        decoded = self.decode(self.condition(self.encoder(x), text), return_similarity, text)
        outputs, refinement = decoded.outputs, self.refinement(x, decoded)
        if refinement is not None and not return_refinement:
            outputs[0] = self.refiner.refine(outputs[0], refinement)  # type: ignore[union-attr]
        segmentation: Segmentation = outputs if self.decoder.deep_supervision else outputs[0]
        if return_refinement or (return_similarity and text is not None):
            return Guided(segmentation, decoded.similarity, refinement, decoded.grounded)
        return (segmentation, decoded.similarity) if return_similarity else segmentation

    def refinement(self, x: Tensor, decoded: Decoded) -> Refinement | None:
        """What the refiner would add to the logits of (B, channels, *S) images; None where none is, or it waits."""
        if self.refiner is None or decoded.similarity is None or (self.training and self.refiner_waits):
            return None
        if isinstance(self.refiner, SurfaceRefiner):
            return self.refiner(
                RefinerInput(decoded.outputs[0], x, decoded.finest, decoded.coarser, decoded.similarity, self.tokens)
            )
        refinement: Refinement = self.refiner(
            decoded.outputs[0], decoded.finest, decoded.similarity, self.tokens, self.decoder.seg_layers[-1]
        )
        return refinement

    def condition(self, encoded: Sequence[Tensor], text: CaseInput | None) -> list[Tensor]:
        """The encoder's features, finest first, the bottleneck's conditioned on the clinical facts."""
        skips = list(encoded)
        if self.clinical is not None and text is not None and text.facts is not None:
            skips[-1] = self.clinical(skips[-1], text.facts)
        return skips

    def decode(self, skips: list[Tensor], explained: bool, text: CaseInput | None = None) -> Decoded:
        """The plans' decoder, step by step as in its own forward, with the text's parts at their stage.

        Args:
            skips: the encoder's features, finest first.
            explained: compute the similarity logits also where nothing in the network needs them.
            text: what is told of the cases.
        """
        x, outputs, similarity, grounded = skips[-1], [], None, Grounded()
        coarser = x
        stages = len(self.decoder.stages)
        for stage in range(stages):
            coarser = x
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
        return Decoded(outputs[::-1], similarity, x, coarser, grounded)

    @property
    def tokens(self) -> Tensor:
        """(N, D) what the refiner attends to: token embeddings, or one embedding per prompt."""
        return self.text_tokens if self.text_tokens.shape[0] else self.text_embeddings

    def explain(self, x: Tensor, text: CaseInput | None = None) -> Explanation:
        """What the text does to (B, channels, *S) images; `text`: what is told of them.

        Raises:
            NetworkError: this network has no text.
        """
        return self.explain_each(x, [text])[0]

    @torch.no_grad()
    def explain_each(self, x: Tensor, texts: Sequence[CaseInput | None]) -> list[Explanation]:
        """The same for several texts; the image is encoded once."""
        if self.alignment is None:
            raise NetworkError("This network was trained without text: there is nothing to explain.")
        encoded, found = self.encoder(x), []
        for text in texts:
            decoded = self.decode(self.condition(encoded, text), explained=True, text=text)
            labels, size = self.num_segmented, x.shape[2:]
            change = self.refinement(x, decoded)
            found.append(explanation_of(self.alignment, self.refiner, decoded, change, labels, size))
        return found

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> np.int64:
        """Elements of all feature maps for one patch of `input_size` voxels, as nnU-Net's planners count them."""
        total: np.int64 = self.decoder.compute_conv_feature_map_size(input_size)
        total += count_encoder(self.encoder, input_size)
        if self.alignment is not None:
            stride = np.prod(self.encoder.strides[: -(self.alignment_stage + 1)], axis=0, dtype=int)
            total += count_alignment(self.alignment, len(self.text_embeddings), np.array(input_size) // stride)
        return total
