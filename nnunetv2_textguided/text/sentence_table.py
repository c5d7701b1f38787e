"""Embeddings of sentences that are no prompts: location phrases, and what is written about the cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nnunetv2_textguided.errors import EmbeddingFileError


@dataclass(frozen=True)
class SentenceTable:
    """Sentences and their embeddings.

    Attributes:
        texts: different sentences, in the order of the rows.
        pooled: (N, D) float32, L2-normalised rows.
        tokens: (M, T) float32, the tokens of all sentences one after the other; None: they were not kept.
        lengths: (N,) how many tokens each sentence has.
    """

    texts: tuple[str, ...]
    pooled: np.ndarray
    tokens: np.ndarray | None = None
    lengths: np.ndarray | None = None

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {text: row for row, text in enumerate(self.texts)}

    @cached_property
    def _begins(self) -> np.ndarray:
        assert self.lengths is not None
        return np.concatenate([[0], np.cumsum(self.lengths)])

    @property
    def word_dim(self) -> int:
        """T; 0 without tokens."""
        return 0 if self.tokens is None else self.tokens.shape[1]

    @classmethod
    def of_tensors(cls, role: str, texts: Sequence[str], tensors: Mapping[str, np.ndarray]) -> SentenceTable:
        """The table that a file has under `role`; KeyError where it has none."""
        tokens, lengths = tensors.get(f"{role}_tokens"), tensors.get(f"{role}_lengths")
        return cls(tuple(texts), tensors[role], None if tokens is None else tokens.astype(np.float32), lengths)

    def tensors(self, role: str, dtype: type[np.floating]) -> dict[str, np.ndarray]:
        """What a file stores of it under `role`."""
        stored = {role: self.pooled.astype(dtype)}
        if self.tokens is not None and self.lengths is not None:
            # Half precision: thousands of phrases have many tokens, and the network forgets some of them anyway.
            stored[f"{role}_tokens"] = self.tokens.astype(np.float16)
            stored[f"{role}_lengths"] = self.lengths.astype(np.int32)
        return stored

    def fault(self) -> str | None:
        """What is wrong with its tokens, if anything is."""
        if self.tokens is None or self.lengths is None:
            return None if self.tokens is self.lengths else "tokens and lengths belong together."
        if self.tokens.ndim != 2 or not np.isfinite(self.tokens).all():
            return "the tokens must be finite, (M, T)."
        fit = self.lengths.shape == (len(self.texts),) and (self.lengths > 0).all()
        return None if fit and self.lengths.sum() == len(self.tokens) else "the lengths do not fit texts and tokens."

    def of(self, texts: Sequence[str], where: object, *, tokens: bool) -> list[np.ndarray]:
        """What a network reads of some of the sentences: of each, (L, T) tokens or (1, D), its one embedding.

        Args:
            texts: sentences; may repeat.
            where: names the table in errors.
            tokens: read tokens.

        Raises:
            EmbeddingFileError: one is not in the table, or the table has no tokens.
        """
        missing = [text for text in texts if text not in self._rows]
        if missing:
            raise EmbeddingFileError(
                f"{len(missing)} sentences have no embedding, such as {missing[0]!r}.",
                where=where,
                remedy="Run `nnUNetv2_textguided encode` for this data set again: its text changed.",
            )
        rows = [self._rows[text] for text in texts]
        if not tokens:
            return [self.pooled[row : row + 1] for row in rows]
        if self.tokens is None:
            raise EmbeddingFileError(
                "The sentences have no token embeddings, which this training reads.",
                where=where,
                remedy="Run `nnUNetv2_textguided encode` for this data set again, without --no-tokens.",
            )
        return [self.tokens[self._begins[row] : self._begins[row + 1]] for row in rows]


def padded(texts: Sequence[np.ndarray], width: int) -> np.ndarray:
    """(N, L, T) of texts of up to L tokens each; the rest is zero, which says nothing.

    Args:
        texts: of each, (L_i, T).
        width: T, for no text at all.
    """
    found = np.zeros((len(texts), max((len(text) for text in texts), default=1), width), dtype=np.float32)
    for row, text in zip(found, texts, strict=True):
        row[: len(text)] = text
    return found
