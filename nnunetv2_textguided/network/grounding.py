"""Grounding head: where in the image a phrase or a sentence is, learned from anatomy (docs/case_text.md)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CaseInput(NamedTuple):
    """What a network is told of the cases of a batch, beside their images.

    Attributes:
        phrases: (P, D) embeddings that are grounded in every case; None: no phrases.
        sentences: (B, S, D) embeddings of what is written about each case; rows of zeros say nothing. None: no text.
        facts: (B, F) clinical facts (clinical.py), NaN where not known; None: nothing known of any case.
    """

    phrases: Tensor | None = None
    sentences: Tensor | None = None
    facts: Tensor | None = None


class Grounded(NamedTuple):
    """Grounding logits on the alignment stage's grid.

    Attributes:
        phrases: (B, P, *s); None without phrases.
        sentences: (B, S, *s); None without sentences.
    """

    phrases: Tensor | None = None
    sentences: Tensor | None = None


class GroundingHead(nn.Module):
    r"""Grounding logits g(v) = f(F(v)) . t(e) / sqrt(dim) + b(e) of text embeddings e at the voxels v.

    f and (t, b) are networks of one hidden layer, so that t can be the set of sectors that a phrase names and f(v) the
    sector of a voxel. Embeddings are compared by what distinguishes them: their common mean is taken away first, and
    they are brought to one length.

    Args:
        feature_width: channels of the decoder stage.
        embedding_dim: width of the text embeddings.
        dim: width of the common space.
        hidden: width of the hidden layers.
        dropout: of the embeddings while training, since far fewer phrases are seen than there are ways to say them.
        feedback: sentences are passed back into the decoder (`feed_back`).
    """

    centre: Tensor

    def __init__(
        self,
        feature_width: int,
        embedding_dim: int,
        dim: int = 64,
        hidden: int = 64,
        dropout: float = 0.3,
        feedback: bool = False,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.register_buffer("centre", torch.zeros(embedding_dim))
        self.image = nn.Sequential(nn.Linear(feature_width, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.text = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(embedding_dim, hidden), nn.GELU(), nn.Linear(hidden, dim + 1)
        )
        self.meaning: nn.Linear | None = None
        if feedback:
            # The last column multiplies the map itself: where something is said, whatever it is.
            self.meaning = nn.Linear(embedding_dim + 1, feature_width, bias=False)
            nn.init.zeros_(self.meaning.weight)

    def centred(self, embeddings: Tensor) -> Tensor:
        """(..., D) embeddings without their common mean, of length sqrt(D); rows of zeros stay zero."""
        said = embeddings.abs().sum(dim=-1, keepdim=True) > 0
        unit = F.normalize(embeddings - self.centre, dim=-1, eps=1e-6)
        # Components of size one, as layers expect them: those of a unit vector are twenty times smaller.
        return torch.where(said, unit * embeddings.shape[-1] ** 0.5, 0.0)

    def forward(self, features: Tensor, embeddings: Tensor) -> Tensor:
        """Grounding logits.

        Args:
            features: (B, feature_width, *S) decoder features.
            embeddings: (P, D), the same for all cases, or (B, P, D).

        Returns:
            (B, P, *S) float32.
        """
        # float32 also under autocast, as in the alignment head.
        with torch.autocast(features.device.type, enabled=False):
            voxels = self.image(features.float().movedim(1, -1))
            told = self.text(self.centred(embeddings.float()))
            vectors, bias = told[..., : self.dim] * self.dim**-0.5, told[..., self.dim]
            axes = "pd" if embeddings.ndim == 2 else "bpd"
            logits = torch.einsum(f"b...d,{axes}->bp...", voxels, vectors)
            bias = bias if bias.ndim == 2 else bias[None]
            return logits + bias.view(*bias.shape, *(1,) * (features.ndim - 2))

    def feed_back(self, features: Tensor, sentences: Tensor, logits: Tensor) -> Tensor:
        """`features` plus, for each sentence, a vector of its meaning wherever it is grounded.

        One map and one vector per sentence, added up: their number and order do not matter, and a case of which nothing
        is written is left as it is, to the bit. Starts as the identity. The maps are not trained through this: where a
        sentence is, anatomy alone teaches.

        Args:
            features: (B, feature_width, *S) decoder features.
            sentences: (B, S, D) embeddings, rows of zeros say nothing.
            logits: (B, S, *S) their grounding logits.
        """
        if self.meaning is None:
            return features
        with torch.autocast(features.device.type, enabled=False):
            said = (sentences.abs().sum(dim=-1, keepdim=True) > 0).float()
            meaning = self.meaning(torch.cat([self.centred(sentences.float()), said], dim=-1))
            # (0, 1): outside of where it is, a sentence says nothing.
            maps = torch.sigmoid(logits.detach())
            change = torch.einsum("bs...,bsw->bw...", maps, meaning)
        return features + change.to(features.dtype)

    def read(self, main: Tensor, guiding: Tensor, text: CaseInput) -> tuple[Tensor, Grounded]:
        """Ground everything that is told, and feed the sentences back.

        Args:
            main: (B, feature_width, *S) decoder features that the segmentation goes on with.
            guiding: (B, feature_width, *S) the same, with the gradient of the text losses (balance.py).
            text: what is told.
        """
        phrases = None if text.phrases is None else self(guiding, text.phrases)
        if text.sentences is None:
            return main, Grounded(phrases)
        sentences = self(guiding, text.sentences)
        return self.feed_back(main, text.sentences, sentences), Grounded(phrases, sentences)
