"""Confidence-gated cross-attention refiner: local edits of the final logits, guided by the prompts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Gate(NamedTuple):
    """The voxels that are refined, as a fixed number M of flat indices per sample.

    A tuple, since torch.compile of torch 2.3 breaks its graph at a dataclass.

    Attributes:
        places: (B, M) int64 indices into the flattened volume.
        open: (B, M) bool, False where fewer than M voxels pass the threshold.
    """

    places: Tensor
    open: Tensor


class TextRefiner(nn.Module):
    r"""z' = z + alpha * m * W_seg . tanh(gamma) . Delta (DESIGN: Refiner).

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

    alpha: Tensor

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
        self.evidence: Callable[[Tensor], Tensor] = _region_evidence if has_regions else _class_evidence
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
        # A tensor, since a Python number would recompile torch.compile's graph each epoch and is lost at prediction.
        self.register_buffer("alpha", torch.zeros(()))

    def forward(self, logits: Tensor, features: Tensor, similarity: Tensor, tokens: Tensor, head: Any) -> Tensor:
        """Refine `logits`.

        Args:
            logits: (B, O, *S) base logits of the last decoder stage.
            features: (B, feature_width, *S) its features.
            similarity: (B, C, *s) similarity logits on a coarser grid of the same field of view.
            tokens: (N, token_dim) text tokens.
            head: the decoder's last segmentation layer, a 1x1 convolution from feature_width to O.

        Returns:
            (B, O, *S) refined logits.
        """
        gate = self.gate(logits)
        change = self.change(gate, features, similarity, tokens, head).to(logits.dtype)
        index = gate.places[:, None].expand(-1, logits.shape[1], -1)
        return logits.flatten(2).scatter_add(2, index, change).view_as(logits)

    @torch.no_grad()
    def gate(self, logits: Tensor) -> Gate:
        """The most confident voxels of (B, O, *S) base logits whose foreground probability exceeds tau; no gradient."""
        evidence = self.evidence(logits.detach().float().flatten(2))
        count = max(1, int(self.max_fraction * evidence.shape[1]))
        strongest, index = torch.topk(evidence, count, dim=1, sorted=False)
        # Log-odds order voxels as probabilities do, without a pass over the volume, and never saturate to ties.
        return Gate(index, strongest > (math.log(self.tau / (1 - self.tau)) if self.tau else -math.inf))

    def change(self, gate: Gate, features: Tensor, similarity: Tensor, tokens: Tensor, head: Any) -> Tensor:
        """(B, O, M) change of the logits at the gated voxels; exactly 0 where the gate is closed.

        Args:
            gate: the M voxels of each image.
            features: (B, feature_width, *S) of the last decoder stage.
            similarity: (B, C, *s) similarity logits.
            tokens: (N, token_dim) of the prompts.
            head: the last segmentation layer.
        """
        voxels = torch.cat(
            [_with_neighbours(features, gate.places), _sample(similarity, gate.places, features.shape[2:])], dim=1
        )
        delta = self.attend(voxels.transpose(1, 2), tokens) * torch.tanh(self.gamma)
        weight: Tensor = head.weight.flatten(1)
        change = self.alpha * F.linear(delta, weight).transpose(1, 2)
        return torch.where(gate.open[:, None], change, torch.zeros((), dtype=change.dtype, device=change.device))

    def attend(self, voxels: Tensor, tokens: Tensor) -> Tensor:
        """Cross-attention of (B, M, voxel width) voxels to (N, token_dim) tokens: (B, M, feature_width)."""
        batch, count, _ = voxels.shape
        memory = self.token_norm(torch.cat([tokens.to(self.null_token.dtype), self.null_token]))
        query = self.query(self.voxel_norm(voxels.float())).view(batch, count, self.heads, -1).transpose(1, 2)
        key, value = (
            layer(memory).view(1, len(memory), self.heads, -1).transpose(1, 2).expand(batch, -1, -1, -1)
            for layer in (self.key, self.value)
        )
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        return self.out(attended.transpose(1, 2).reshape(batch, count, -1))


def _class_evidence(logits: Tensor) -> Tensor:
    """Log-odds of 1 - p(background) of (B, O, V) class logits, without a softmax over the volume: (B, V)."""
    foreground = logits[:, 1] if logits.shape[1] == 2 else torch.logsumexp(logits[:, 1:], dim=1)
    return foreground - logits[:, 0]


def _region_evidence(logits: Tensor) -> Tensor:
    """Log-odds of the largest region probability of (B, O, V) region logits: (B, V)."""
    return logits.amax(dim=1)


def _with_neighbours(features: Tensor, index: Tensor) -> Tensor:
    """Features at (B, M) flat indices, stacked on the mean over the face neighbours: (B, 2 * width, M)."""
    shape = features.shape[2:]
    places, stride = [index], 1
    for size in reversed(shape):
        coordinate = torch.div(index, stride, rounding_mode="floor") % size
        # At the border the voxel is its own neighbour (replicate padding).
        places.append(index - stride * (coordinate > 0))
        places.append(index + stride * (coordinate < size - 1))
        stride *= size
    flat = torch.cat(places, dim=1)[:, None].expand(-1, features.shape[1], -1)
    gathered = features.flatten(2).gather(2, flat).unflatten(2, (len(places), index.shape[1]))
    return torch.cat([gathered[:, :, 0], gathered[:, :, 1:].mean(dim=2)], dim=1)


def _sample(similarity: Tensor, index: Tensor, shape: torch.Size) -> Tensor:
    """Linear interpolation of (B, C, *s) at (B, M) flat indices of the finer grid `shape`: (B, C, M) float32."""
    coordinates, stride = [], 1
    for size in reversed(shape):
        coordinate = torch.div(index, stride, rounding_mode="floor") % size
        coordinates.append((2 * coordinate + 1).float() / size - 1)
        stride *= size
    # grid_sample wants the last axis first, which is the order in which coordinates were collected.
    grid = torch.stack(coordinates, dim=-1)
    grid = grid.view(index.shape[0], *(1,) * (len(shape) - 1), index.shape[1], len(shape))
    sampled = F.grid_sample(similarity.float(), grid, padding_mode="border", align_corners=False)
    return sampled.flatten(2)
