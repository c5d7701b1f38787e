from __future__ import annotations

import numpy as np
import pytest

from nnunetv2_textguided.errors import EncoderError
from nnunetv2_textguided.text.encoder_transformers import TransformersEncoder


def test_lesion_is_nearer_to_tumour_than_to_a_dog(minilm_encoder: TransformersEncoder) -> None:
    lesion, tumour, dog = minilm_encoder.encode(["prostate lesion", "tumour", "a photo of a dog"]).pooled
    assert lesion @ tumour > lesion @ dog + 0.2


def test_embedding_of_a_prompt_does_not_depend_on_its_neighbours(minilm_encoder: TransformersEncoder) -> None:
    alone = minilm_encoder.encode(["prostate lesion"])
    padded = minilm_encoder.encode(["prostate lesion", "a much longer prompt that forces padding onto the first one"])
    np.testing.assert_allclose(padded.pooled[0], alone.pooled[0], atol=1e-5)
    np.testing.assert_allclose(padded.tokens[padded.token_prompt == 0], alone.tokens, atol=1e-5)
    assert alone.tokens.shape == (5, 384)  # [CLS] prostate les ##ion [SEP]


def test_order_of_many_prompts_is_kept(minilm_encoder: TransformersEncoder) -> None:
    prompts = [f"structure number {i}" for i in range(40)]
    together = minilm_encoder.encode(prompts).pooled
    np.testing.assert_allclose(together[35], minilm_encoder.encode(prompts[35:36]).pooled[0], atol=1e-5)


def test_prompt_that_would_be_cut_is_refused(minilm_encoder: TransformersEncoder) -> None:
    with pytest.raises(EncoderError, match="reads 256"):
        minilm_encoder.encode(["short", "prostate " * 300])
