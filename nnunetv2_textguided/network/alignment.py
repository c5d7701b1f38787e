"""Alignment head: how similar each voxel of a decoder stage is to each label's words (paper section II-B)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nnunetv2_textguided.network.calibration import HeatmapCalibration
from nnunetv2_textguided.network.conditioning import PromptConditioning

FEEDBACK_LOGIT = 4.0
"""Similarity logits up to here (a probability of 0.98) are passed on nearly linearly."""


class AlignmentHead(nn.Module):
    r"""Similarity logits between image features and prompts.

    With f = normalise(W_f F) and t_k = normalise(W_t e_k), a = min(exp(theta), max_scale), class prompts P_c and
    negatives N_c, the context prompts or, if labels are exclusive, these and the prompts of all other labels:

        l_c(v) = log mean_{k in P_c} exp(a f(v).t_k) - log mean_{k in N_c} exp(a f(v).t_k) + b_c

    The losses see sigmoid(l_c). Unlike the sigmoid of a cosine, whose range is [0.27, 0.73], it reaches all of (0, 1);
    scale and bias are learned. `calibration` makes it the heatmap, a probability (calibration.py). Without negatives
    the second term is 0.

    Args:
        feature_width: channels of the decoder stage.
        embedding_dim: width of the text embeddings.
        prompts_per_label: number of prompts of each label; context prompts follow the last label's.
        context_prompts: number of context prompts.
        projection_dim: width of the common space.
        initial_scale: initial a.
        max_scale: cap of a.
        prior: foreground prior; b_c starts at its logit, so that an untrained map claims next to nothing.
        conditioning_width: channels of the image features that prompts look at first (conditioning.py); None: they
            are the same for every image.
        feedback: the map is passed back into the decoder (see `feed_back`).
        exclusive: a voxel is of one label at most, so that all other labels' prompts are negatives of a label.
    """

    def __init__(
        self,
        feature_width: int,
        embedding_dim: int,
        prompts_per_label: Sequence[int],
        context_prompts: int,
        projection_dim: int = 64,
        initial_scale: float = 1 / 0.07,
        max_scale: float = 100.0,
        prior: float = 0.01,
        conditioning_width: int | None = None,
        feedback: bool = False,
        exclusive: bool = False,
    ) -> None:
        super().__init__()
        self.exclusive = exclusive
        self.sections = [*prompts_per_label, context_prompts]
        self.max_log_scale = math.log(max_scale)
        self.image_projection = nn.Linear(feature_width, projection_dim, bias=False)
        self.text_projection = nn.Linear(embedding_dim, projection_dim, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(math.log(initial_scale)))
        self.bias = nn.Parameter(torch.full((len(prompts_per_label),), math.log(prior / (1 - prior))))
        self.calibration = HeatmapCalibration(len(prompts_per_label))
        self.conditioning: PromptConditioning | None = None
        if conditioning_width is not None:
            self.conditioning = PromptConditioning(conditioning_width, projection_dim)
        self.feedback: nn.Linear | None = None
        if feedback:
            self.feedback = nn.Linear(len(prompts_per_label), feature_width, bias=False)
            nn.init.zeros_(self.feedback.weight)

    @property
    def scale(self) -> Tensor:
        """The learned scale a, a scalar tensor."""
        return self.log_scale.clamp(max=self.max_log_scale).exp()

    def forward(self, features: Tensor, embeddings: Tensor, image: Tensor | None = None) -> Tensor:
        """Similarity logits.

        Args:
            features: (B, feature_width, *S) decoder features.
            embeddings: (K, embedding_dim) text embeddings, prompts of label 0 first, context prompts last.
            image: (B, conditioning_width, *s) features that prompts look at; needed with conditioning only.

        Returns:
            (B, C, *S) float32 logits l_c.
        """
        # float32 also under autocast: a logit of 14 +- 0.01 matters, and half precision has three digits.
        with torch.autocast(features.device.type, enabled=False):
            weight = self.image_projection.weight
            voxels = torch.einsum("bw...,dw->bd...", features.float(), weight.float())
            # An empty image has features of length 0: their gradient is a / this, which float16 must hold.
            length = torch.linalg.vector_norm(voxels, dim=1, keepdim=True).clamp(min=1e-4)
            text = self.text_projection(embeddings.float())
            if self.conditioning is not None and image is not None:
                text = self.conditioning(text, image.float())
            # a and 1/|f| are linear: applied to the prompts and to the products, no other map of f's width is made.
            text = self.scale * F.normalize(text, dim=-1, eps=1e-6)
            prompts = "kd" if text.ndim == 2 else "bkd"
            scaled_cosine = torch.einsum(f"bd...,{prompts}->bk...", voxels, text) / length
            logits = self._contrast(torch.split(scaled_cosine, self.sections, dim=1))
            return logits + self.bias.view(1, -1, *(1,) * (features.ndim - 2))

    def _contrast(self, parts: Sequence[Tensor]) -> Tensor:
        """(B, C, *S) log mean over each label's prompts minus that over its negatives.

        Args:
            parts: for each label (B, P_c, *S) scaled cosines of its prompts, then those of the context prompts.
        """
        *labels, context = parts
        logits = torch.stack([_log_mean_exp(part) for part in labels], dim=1)
        if not self.exclusive:
            return logits - _log_mean_exp(context)[:, None] if context.shape[1] else logits
        # Sums once per label, not once per pair of labels.
        sums = torch.stack([torch.logsumexp(part, dim=1) for part in parts if part.shape[1]], dim=1)
        negatives = []
        for label, part in enumerate(labels):
            others = [index for index in range(sums.shape[1]) if index != label]
            count = sum(self.sections) - part.shape[1]
            chosen = (
                torch.logsumexp(sums[:, others], dim=1) - math.log(count) if others else torch.zeros_like(logits[:, 0])
            )
            negatives.append(chosen)
        return logits - torch.stack(negatives, dim=1)

    def feed_back(self, features: Tensor, similarity: Tensor) -> Tensor:
        """`features` plus a learned mixture of the maps, as DenseCLIP feeds its score maps to the decoder.

        Thus the text takes part in every voxel's decision and not only in the losses. The mixture starts at zero.

        Args:
            features: (B, feature_width, *S) decoder features.
            similarity: (B, C, *S) similarity logits of the same grid.
        """
        if self.feedback is None:
            return features
        # Bounded: a logit of 50 says no more than one of 5, and would drown the features.
        maps = torch.tanh(similarity / FEEDBACK_LOGIT).to(features.dtype)
        return features + torch.einsum("bc...,wc->bw...", maps, self.feedback.weight.to(features.dtype))


def _log_mean_exp(x: Tensor) -> Tensor:
    """log of the mean over axis 1 of exp(x)."""
    return torch.logsumexp(x, dim=1) - math.log(x.shape[1])
