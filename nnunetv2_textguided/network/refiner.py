"""Refiner: local edits of the final logits near the decision surface, made from local context and the prompts."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from nnunetv2_textguided.network.attention import attend
from nnunetv2_textguided.network.gate import Gate, Refinement, Refiner, log_odds, neighbourhood, sample, surface_gate

SCORE_RANGE = 4.0
"""Base log-odds up to here are read nearly linearly."""


class RefinerInput(NamedTuple):
    """What the refiner reads. Nothing of it receives a gradient from the refiner.

    Attributes:
        logits: (B, O, *S) base logits of the last decoder stage.
        image: (B, channels, *S).
        features: (B, width, *S) of the last decoder stage.
        coarse: (B, coarse width, *s) of the stage before.
        similarity: (B, C, *s') similarity logits.
        tokens: (N, token_dim) text tokens.
    """

    logits: Tensor
    image: Tensor
    features: Tensor
    coarse: Tensor
    similarity: Tensor
    tokens: Tensor


class SurfaceRefiner(Refiner):
    r"""z' = z + alpha m Delta (docs/method.md: refiner).

    The gate m lets the voxels nearest to the decision surface through. Each reads the cube of decoder features, base
    log-odds and image around it, the features of the stage before and the similarity at its place; two linear layers
    make a query of them, to which attention to the text tokens can add a residual, and a third layer Delta, which is
    bounded by +-`bound` logits. Only gated voxels are read and computed, so cost and memory follow their number and not
    the volume: a fixed number per patch where gradients are taken or torch.compile traces (static shapes), else those
    that pass.

    Exactly the identity when alpha is 0, when nothing passes the gate, and outside the gate. No gradient reaches what
    it reads: the network is the same as without a refiner, which has a loss of its own (losses/refiner.py).

    Args:
        widths: channels of the image, the last decoder stage and the stage before.
        token_dim: width of the text tokens.
        num_labels: labels of the similarity logits.
        outputs: segmentation heads O.
        regions: whether base logits are region logits (sigmoid) and not class logits (softmax).
        dims: spatial axes.
        attends: whether voxels attend to the tokens.
        dim: width of queries, keys and values.
        hidden: width of the first layer.
        heads: attention heads.
        band: width of the gate in logits: voxels whose decision is nearer than this to another are refined.
        max_fraction: share of a patch that is refined at most in training.
        prediction_fraction: the same at prediction.
        bound: largest change in logits.
    """

    def __init__(
        self,
        widths: tuple[int, int, int],
        token_dim: int,
        num_labels: int,
        outputs: int,
        regions: bool,
        dims: int,
        attends: bool = False,
        dim: int = 64,
        hidden: int = 128,
        heads: int = 4,
        band: float = 3.0,
        max_fraction: float = 0.02,
        prediction_fraction: float = 0.05,
        bound: float = 4.0,
    ) -> None:
        super().__init__()
        self.regions, self.band, self.bound = regions, band, bound
        self.max_fraction, self.prediction_fraction = max_fraction, prediction_fraction
        self.extent = (3,) * dims
        labels = outputs if regions else outputs - 1
        image, features, coarse = widths
        cube = 3**dims
        self.feature_norm = nn.LayerNorm(cube * (features + image) + coarse)
        self.first = nn.Linear(cube * (features + image + labels) + coarse + num_labels, hidden)
        self.query = nn.Linear(hidden, dim)
        self.attention = TokenAttention(dim, heads, token_dim) if attends else None
        self.head_norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, labels)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, given: RefinerInput) -> Refinement:
        """The change of the logits at full strength; `refine` adds it."""
        given = RefinerInput(*(tensor.detach() for tensor in given))
        fraction = self.max_fraction if self.training else self.prediction_fraction
        count = max(1, int(fraction * given.logits[0, 0].numel()))
        gate = surface_gate(given.logits, self.regions, self.band, count)
        if not (self.training or torch.is_grad_enabled() or torch.compiler.is_compiling()):
            gate = gate.trimmed()  # most windows hold few voxels near a surface, or none
        if torch.is_grad_enabled():
            # What it reads is kept by the network anyway: the copies of every voxel's neighbourhood need not be.
            query = checkpoint(self.local_queries, given, gate, use_reentrant=False)
        else:
            query = self.local_queries(given, gate)
        if self.attention is not None:
            query = query + self.attention(query, given.tokens)
        delta = self.bound * torch.tanh(self.head(self.head_norm(query)).float() / self.bound)
        change = torch.where(gate.open[:, None], delta.transpose(1, 2), delta.new_zeros(()))
        # Of class logits the background's stays as it is: the change is one of the labels' log-odds.
        return Refinement(gate, change if self.regions else F.pad(change, (0, 0, 1, 0)))

    def local_queries(self, given: RefinerInput, gate: Gate) -> Tensor:
        """(B, M, dim) what the gated voxels see around them."""
        shape = given.logits.shape[2:]
        odds = log_odds(given.logits.float(), self.regions)
        context = torch.cat(
            [
                neighbourhood(given.features, gate.places, self.extent).float(),
                neighbourhood(given.image, gate.places, self.extent).float(),
                sample(given.coarse, gate.places, shape),
            ],
            dim=2,
        )
        scores = torch.cat(
            [neighbourhood(odds, gate.places, self.extent), sample(given.similarity, gate.places, shape)], dim=2
        )
        seen = torch.cat([self.feature_norm(context), torch.tanh(scores / SCORE_RANGE)], dim=2)
        query: Tensor = self.query(F.gelu(self.first(seen)))
        return query


class TokenAttention(nn.Module):
    """Multi-head attention of voxels to the text tokens and one learned null token.

    Args:
        dim: width of queries, keys and values.
        heads: attention heads.
        token_dim: width of the tokens.
    """

    def __init__(self, dim: int, heads: int, token_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_norm, self.token_norm = nn.LayerNorm(dim), nn.LayerNorm(token_dim)
        # A bias of the keys would be the same for all tokens, which the softmax does not see.
        self.key, self.value = nn.Linear(token_dim, dim, bias=False), nn.Linear(token_dim, dim)
        self.mix = nn.Linear(dim, dim)
        self.null_token = nn.Parameter(torch.randn(1, token_dim) * token_dim**-0.5)
        # Starts at nothing: a random residual, the same for all voxels, would drown what they see.
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)

    def forward(self, query: Tensor, tokens: Tensor) -> Tensor:
        """(B, M, dim) what the queries take from the tokens.

        Args:
            query: (B, M, dim).
            tokens: (N, token_dim).
        """
        memory = self.token_norm(torch.cat([tokens.to(self.null_token.dtype), self.null_token]))
        keys, values = (layer(memory)[None].expand(len(query), -1, -1) for layer in (self.key, self.value))
        mixed: Tensor = self.mix(attend(self.query_norm(query), keys, values, self.heads))
        return mixed
