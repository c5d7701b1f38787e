"""Embeddings of sentences that are no prompts: location phrases, and what is written about the cases."""

from __future__ import annotations

from collections.abc import Sequence
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
    """

    texts: tuple[str, ...]
    pooled: np.ndarray

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {text: row for row, text in enumerate(self.texts)}

    def of(self, texts: Sequence[str], where: object) -> np.ndarray:
        """(len(texts), D) embeddings of some of the sentences.

        Args:
            texts: sentences; may repeat.
            where: names the table in errors.

        Raises:
            EmbeddingFileError: one is not in the table.
        """
        missing = [text for text in texts if text not in self._rows]
        if missing:
            raise EmbeddingFileError(
                f"{len(missing)} sentences have no embedding, such as {missing[0]!r}.",
                where=where,
                remedy="Run `nnUNetv2_textguided encode` for this data set again: its text changed.",
            )
        return self.pooled[[self._rows[text] for text in texts]].reshape(len(texts), self.pooled.shape[1])
