"""The parts of the network that read text, as the settings describe them."""

from __future__ import annotations

from collections.abc import Sequence

from nnunetv2_textguided.errors import NetworkError
from nnunetv2_textguided.network.alignment import AlignmentHead
from nnunetv2_textguided.network.attention_refiner import AttentionRefiner
from nnunetv2_textguided.network.grounding import GroundingHead
from nnunetv2_textguided.network.refiner import SurfaceRefiner
from nnunetv2_textguided.settings import AlignmentSettings, RefinerSettings, ResolvedText, Settings


def text_of(settings: Settings, outputs: int) -> ResolvedText:
    """The text that a network with `outputs` segmentation heads is told.

    Raises:
        NetworkError: there is none, or its labels and the heads do not fit together.
    """
    text = settings.text.resolved
    if text is None:
        raise NetworkError(
            "The plans use text guidance but do not say which prompts.",
            where="text_guidance.text.resolved",
            remedy="Train with a trainer of this package, which fills it in, or use the model folder's plans.",
        )
    segmented = len(text.segmented)
    if outputs not in (segmented, segmented + 1):
        raise NetworkError(
            f"The text names {segmented} labels, but the network has {outputs} segmentation heads.",
            where="text_guidance.text.resolved.labels",
            remedy="Labels must be the data set's foreground labels or regions; train again or run encode.",
        )
    return text


def build_alignment(
    settings: AlignmentSettings, text: ResolvedText, features: int, bottleneck: int, outputs: int
) -> AlignmentHead:
    """The alignment head for `features` channels at its stage, `bottleneck` channels at the coarsest, `outputs` heads.

    Regions overlap: a region's voxel may be another's, too, and only the context is against it.
    """
    return AlignmentHead(
        features,
        text.embedding_dim,
        [text.prompt_label.count(label) for label in range(len(text.labels))],
        text.prompt_label.count(-1),
        settings.projection_dim,
        settings.initial_scale,
        settings.max_scale,
        settings.prior,
        bottleneck if settings.conditioning == "image" else None,
        settings.feedback,
        exclusive=settings.negatives == "all" and outputs != len(text.segmented),
    )


def build_grounding(settings: Settings, text: ResolvedText, features: int, stride: Sequence[int]) -> GroundingHead:
    """The grounding head for `features` channels at the alignment stage; `stride`: from the next finer stage to it."""
    options = settings.grounding.model_dump(include={"hidden", "dropout"})
    options |= {"feedback": settings.text.case.sentences, "tokens": bool(text.word_dim)}
    return GroundingHead(features, text.text_dim, stride, **options)


def build_refiner(
    settings: RefinerSettings, text: ResolvedText, read: tuple[int, int, int], outputs: int, dims: int
) -> SurfaceRefiner | AttentionRefiner:
    """The refiner.

    Args:
        settings: its design and sizes.
        text: what it may attend to.
        read: channels of the image, of the finest stage and of the stage before.
        outputs: segmentation heads.
        dims: spatial dimensions.
    """
    token_dim = text.token_dim if text.num_tokens else text.embedding_dim
    labels, regions = len(text.labels), outputs == len(text.segmented)
    if settings.design == "attention":
        chosen = settings.model_dump(include={"dim", "heads", "tau", "max_fraction", "gamma", "dropout"})
        return AttentionRefiner(read[1], token_dim, labels, regions, **chosen)
    names = {"dim", "hidden", "heads", "band", "max_fraction", "prediction_fraction", "bound"}
    chosen = settings.model_dump(include=names)
    return SurfaceRefiner(read, token_dim, labels, outputs, regions, dims, settings.tokens != "none", **chosen)
