"""The paper's refiner: cross-attention from the most confident voxels to the prompts, without local context."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nnunetv2_textguided.network.attention import attend
from nnunetv2_textguided.network.gate import Gate, Refinement, Refiner, coordinates, sample


class AttentionRefiner(Refiner):
    r"""z' = z + alpha * m * W_seg . tanh(gamma) . Delta (docs/method.md: refiner).

    Delta is multi-head cross-attention from the gated voxels to the text tokens and one learned null token. A query
    sees the voxel's decoder features, the mean of its face neighbours' and the similarity logits at its place. W_seg is
    the decoder's own segmentation layer. Only a fixed number of voxels is touched (static shapes for torch.compile and
    CUDA graphs), so cost and memory follow that number and not the volume.

    Exactly the identity when alpha is 0, when nothing passes the gate, and outside the gate. The output projection
    starts at zero and gamma does not: were both zero, neither would ever receive a gradient.

    Args:
        feature_width: channels of the last decoder stage.
        token_dim: width of the text tokens.
        num_labels: labels of the similarity logits.
        has_regions: whether base logits are region logits (sigmoid) and not class logits (softmax).
        dim: width of queries, keys and values.
        heads: attention heads.
        tau: gate threshold on the base foreground probability.
        max_fraction: share of the volume that can be refined.
        gamma: initial value of the tanh gate.
        dropout: dropout of the attention weights.
    """

    def __init__(
        self,
        feature_width: int,
        token_dim: int,
        num_labels: int,
        has_regions: bool,
        dim: int = 32,
        heads: int = 4,
        tau: float = 0.3,
        max_fraction: float = 0.02,
        gamma: float = 0.1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.heads, self.tau, self.max_fraction, self.dropout = heads, tau, max_fraction, dropout
        self.confidence: Callable[[Tensor], Tensor] = _region_confidence if has_regions else _class_confidence
        self.voxel_norm = nn.LayerNorm(2 * feature_width + num_labels)
        self.query = nn.Linear(2 * feature_width + num_labels, dim)
        self.token_norm = nn.LayerNorm(token_dim)
        self.key = nn.Linear(token_dim, dim)
        self.value = nn.Linear(token_dim, dim)
        self.null_token = nn.Parameter(torch.randn(1, token_dim) * token_dim**-0.5)
        self.out = nn.Linear(dim, feature_width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.gamma = nn.Parameter(torch.tensor(float(gamma)))

    def forward(self, logits: Tensor, features: Tensor, similarity: Tensor, tokens: Tensor, head: Any) -> Refinement:
        """The change of the logits, for `refine`.

        Args:
            logits: (B, O, *S) base logits of the last decoder stage.
            features: (B, feature_width, *S) its features.
            similarity: (B, C, *s) similarity logits on a coarser grid of the same field of view.
            tokens: (N, token_dim) text tokens.
            head: the decoder's last segmentation layer, a 1x1 convolution from feature_width to O.
        """
        gate = self.gate(logits)
        return Refinement(gate, self.change(gate, features, similarity, tokens, head))

    @torch.no_grad()
    def gate(self, logits: Tensor) -> Gate:
        """The most confident voxels of (B, O, *S) base logits whose foreground probability exceeds tau; no gradient."""
        confidence = self.confidence(logits.detach().float().flatten(2))
        count = max(1, int(self.max_fraction * confidence.shape[1]))
        strongest, index = torch.topk(confidence, count, dim=1, sorted=False)
        # Log-odds order voxels as probabilities do, without a pass over the volume, and never saturate to ties.
        return Gate(index, strongest > (math.log(self.tau / (1 - self.tau)) if self.tau else -math.inf))

    def change(self, gate: Gate, features: Tensor, similarity: Tensor, tokens: Tensor, head: Any) -> Tensor:
        """(B, O, M) change of the logits at the gated voxels; exactly 0 where the gate is closed.

        Args:
            gate: the M voxels of each image.
            features: (B, feature_width, *S) of the last decoder stage.
            similarity: (B, C, *s) similarity logits.
            tokens: (N, token_dim) of the prompts.
            head: the decoder's last segmentation layer.
        """
        shape = features.shape[2:]
        voxels = torch.cat([_with_neighbours(features, gate.places), sample(similarity, gate.places, shape)], dim=2)
        delta = self.attend(voxels, tokens) * torch.tanh(self.gamma)
        weight: Tensor = head.weight.flatten(1)
        change = F.linear(delta, weight).transpose(1, 2)
        return torch.where(gate.open[:, None], change, torch.zeros((), dtype=change.dtype, device=change.device))

    def attend(self, voxels: Tensor, tokens: Tensor) -> Tensor:
        """Cross-attention of (B, M, voxel width) voxels to (N, token_dim) tokens: (B, M, feature_width)."""
        memory = self.token_norm(torch.cat([tokens.to(self.null_token.dtype), self.null_token]))
        query = self.query(self.voxel_norm(voxels.float()))
        key, value = (layer(memory)[None].expand(len(query), -1, -1) for layer in (self.key, self.value))
        out: Tensor = self.out(attend(query, key, value, self.heads, self.dropout if self.training else 0.0))
        return out


def _class_confidence(logits: Tensor) -> Tensor:
    """Log-odds of 1 - p(background) of (B, O, V) class logits, without a softmax over the volume: (B, V)."""
    foreground = logits[:, 1] if logits.shape[1] == 2 else torch.logsumexp(logits[:, 1:], dim=1)
    return foreground - logits[:, 0]


def _region_confidence(logits: Tensor) -> Tensor:
    """Log-odds of the largest region probability of (B, O, V) region logits: (B, V)."""
    return logits.amax(dim=1)


def _with_neighbours(features: Tensor, index: Tensor) -> Tensor:
    """Features at (B, M) flat indices, stacked on the mean over the face neighbours: (B, M, 2 * width)."""
    shape = features.shape[2:]
    places, stride = [index], 1
    for coordinate, size in zip(coordinates(index, shape)[::-1], shape[::-1], strict=True):
        # At the border the voxel is its own neighbour (replicate padding).
        places.append(index - stride * (coordinate > 0))
        places.append(index + stride * (coordinate < size - 1))
        stride *= size
    flat = torch.cat(places, dim=1)[:, None].expand(-1, features.shape[1], -1)
    gathered = features.flatten(2).gather(2, flat).unflatten(2, (len(places), index.shape[1]))
    return torch.cat([gathered[:, :, 0], gathered[:, :, 1:].mean(dim=2)], dim=1).transpose(1, 2)
