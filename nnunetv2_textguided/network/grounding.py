"""Grounding head: where in the image a phrase or a sentence is, learned from anatomy (docs/case_text.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nnunetv2_textguided.anatomy.sectors import ATTRIBUTES, SECTORS

SURE = 1e-4
"""Grounding probabilities lie between this and 1 minus this."""
FORGOTTEN = 0.5
"""Dropout of the sentences' embeddings where they are fed back."""


class CaseInput(NamedTuple):
    """What a network is told of the cases of a batch, beside their images.

    A text is a row of L tokens of width D, those of zeros say nothing; or of one, the embedding of all of it.

    Attributes:
        phrases: (P, L, D) phrases that name a place; None: no phrases.
        sentences: (B, S, L, D) what is written about each case; sentences of zeros are none. None: no text.
        facts: (B, F) clinical facts (clinical.py), NaN where not known; None: nothing known of any case.
    """

    phrases: Tensor | None = None
    sentences: Tensor | None = None
    facts: Tensor | None = None


class Grounded(NamedTuple):
    """What the grounding head found, on the grid of the decoder's stage after the alignment stage.

    Attributes:
        places: (B, 1 + K, *s) logits of each voxel being elsewhere or in each of the K sectors; None without phrases.
        attributes: (P, A) logits of what each phrase names or leaves open; None without phrases.
        sentences: (B, S, *s) grounding logits; None without sentences.
    """

    places: Tensor | None = None
    attributes: Tensor | None = None
    sentences: Tensor | None = None


class GroundingHead(nn.Module):
    r"""Where embeddings e say that something is: \(p(v) = \sum_k m_k(e) P_k(v)\), over the sectors k of the prostate.

    P(v) is the sector of a voxel v, a softmax over sectors and elsewhere, learned from zone masks. m(e) is the set of
    sectors that the words name: a product over zone, side, level and depth, each of which a network of one hidden layer
    reads from the tokens; what is not said leaves all of an axis open. So image and language are learned apart, and
    words combine as they do in speech. Each name has an attention of its own over the tokens: the few words that say
    where something is would drown in the mean of a long sentence. Embeddings are compared by what distinguishes them:
    their common mean is taken away first, and they are brought to one length.

    Maps are finer than the features (`upscale`): many a sector is narrower than a cell of the alignment stage, and a
    border between sectors, where two interpolated logits are equal, lies anywhere in a cell.

    Args:
        feature_width: channels of the decoder stage.
        word_dim: D, width of the tokens, or of the embedding of a whole text.
        upscale: cells of the maps for a cell of the features, along each axis.
        hidden: width of the hidden layers.
        dropout: of the embeddings while training, since far fewer phrases are seen than there are ways to say them.
        feedback: sentences are passed back into the decoder (`feed_back`).
        tokens: texts have more than one token.
    """

    centre: Tensor
    table: Tensor

    def __init__(
        self,
        feature_width: int,
        word_dim: int,
        upscale: Sequence[int] = (),
        hidden: int = 128,
        dropout: float = 0.3,
        feedback: bool = False,
        tokens: bool = False,
    ) -> None:
        super().__init__()
        self.upscale = tuple(upscale)
        self.register_buffer("centre", torch.zeros(word_dim))
        self.register_buffer("table", torch.tensor(ATTRIBUTES).float(), persistent=False)
        self.image = nn.Sequential(nn.Linear(feature_width, hidden), nn.GELU(), nn.Linear(hidden, 1 + len(SECTORS)))
        self.text = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(word_dim, hidden), nn.GELU(), nn.Linear(hidden, len(self.table))
        )
        self.attention = nn.Linear(hidden, len(self.table)) if tokens else None
        self.meaning: nn.Linear | None = None
        if feedback:
            # The last column multiplies the map itself: where something is said, whatever it is and however worded.
            self.meaning = nn.Linear(word_dim + 1, feature_width, bias=False)
            nn.init.zeros_(self.meaning.weight)

    def centred(self, embeddings: Tensor) -> Tensor:
        """(..., D) embeddings without their common mean, of length sqrt(D); rows of zeros stay zero."""
        said = embeddings.abs().sum(dim=-1, keepdim=True) > 0
        unit = F.normalize(embeddings - self.centre, dim=-1, eps=1e-6)
        # Components of size one, as layers expect them: those of a unit vector are twenty times smaller.
        return torch.where(said, unit * embeddings.shape[-1] ** 0.5, 0.0)

    def places(self, features: Tensor) -> Tensor:
        """(B, 1 + K, *s) float32 logits of elsewhere and each sector, of (B, feature_width, *S) decoder features."""
        # float32 also under autocast, as in the alignment head.
        with torch.autocast(features.device.type, enabled=False):
            found: Tensor = self.image(features.float().movedim(1, -1)).movedim(-1, 1)
            if all(factor == 1 for factor in self.upscale):
                return found
            return on_grid(found, [n * factor for n, factor in zip(found.shape[2:], self.upscale, strict=True)])

    def attributes(self, texts: Tensor) -> Tensor:
        """(..., A) logits of what each of (..., L, D) texts names or leaves open; float32."""
        with torch.autocast(texts.device.type, enabled=False):
            read = self.text[:-1](self.centred(texts.float()))
            named: Tensor = self.text[-1](read)
            if self.attention is None:
                return named.squeeze(-2)
            padding = texts.abs().sum(dim=-1, keepdim=True) == 0
            weight = self.attention(read).masked_fill(padding, torch.finfo(read.dtype).min).softmax(dim=-2)
            return (weight * named).sum(dim=-2)

    def forward(self, features: Tensor, sentences: Tensor) -> Tensor:
        """Grounding logits.

        Args:
            features: (B, feature_width, *S) decoder features.
            sentences: (B, S, L, D) of each case.

        Returns:
            (B, S, *s) float32.
        """
        return self.ground(self.places(features), sentences)

    def ground(self, places: Tensor, sentences: Tensor) -> Tensor:
        """Grounding logits, given where sectors are.

        Args:
            places: (B, 1 + K, *s) logits of elsewhere and of each sector.
            sentences: (B, S, L, D) of each case.

        Returns:
            (B, S, *s) float32.
        """
        with torch.autocast(places.device.type, enabled=False):
            members = (F.logsigmoid(self.attributes(sentences)) @ self.table).exp()
            inside = places.softmax(dim=1)[:, 1:]
            return torch.logit(torch.einsum("bk...,bsk->bs...", inside, members), eps=SURE)

    def feed_back(self, features: Tensor, sentences: Tensor, logits: Tensor) -> Tensor:
        """`features` plus, for each sentence, a vector of its meaning wherever it is grounded.

        One map and one vector per sentence, added up: their number and order do not matter, and a case of which nothing
        is written is left as it is, to the bit. Starts as the identity. The maps are not trained through this: where a
        sentence is, anatomy alone teaches.

        Args:
            features: (B, feature_width, *S) decoder features.
            sentences: (B, S, L, D), those of zeros say nothing; the meaning of one is its tokens' mean.
            logits: (B, S, *s) their grounding logits.
        """
        if self.meaning is None:
            return features
        with torch.autocast(features.device.type, enabled=False):
            tokens = (sentences.abs().sum(dim=-1) > 0).sum(dim=-1, keepdim=True)
            said, mean = (tokens > 0).float(), sentences.float().sum(dim=-2) / tokens.clamp(min=1)
            # As long as the embedding, of which half is left out in training: a data set has few sentences, and in
            # other words than theirs only this part says the same.
            said = said * sentences.shape[-1] ** 0.5
            centred = F.dropout(self.centred(mean), FORGOTTEN, self.training)
            meaning = self.meaning(torch.cat([centred, said], dim=-1))
            # (0, 1): outside of where it is, a sentence says nothing.
            maps = F.interpolate(torch.sigmoid(logits.detach()), features.shape[2:], mode="area")
            change = torch.einsum("bs...,bsw->bw...", maps, meaning)
        return features + change.to(features.dtype)

    def read(self, main: Tensor, guiding: Tensor, text: CaseInput) -> tuple[Tensor, Grounded]:
        """Ground everything that is told, and feed the sentences back.

        Args:
            main: (B, feature_width, *S) decoder features that the segmentation goes on with.
            guiding: (B, feature_width, *S) the same, with the gradient of the text losses (balance.py).
            text: what is told.
        """
        if text.phrases is None and text.sentences is None:
            return main, Grounded()
        places = self.places(guiding)
        learned = Grounded() if text.phrases is None else Grounded(places, self.attributes(text.phrases))
        if text.sentences is None:
            return main, learned
        sentences = self.ground(places, text.sentences)
        return self.feed_back(main, text.sentences, sentences), learned._replace(sentences=sentences)


def on_grid(logits: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, *s) logits of a map on the grid `size`."""
    mode = "trilinear" if len(size) == 3 else "bilinear"
    return F.interpolate(logits, tuple(size), mode=mode, align_corners=False)
