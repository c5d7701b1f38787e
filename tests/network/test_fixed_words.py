"""What prompts that are the same for every case can do: the control "rotated words" (docs/method.md)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nnunetv2_textguided.losses.guidance import GuidanceLoss
from nnunetv2_textguided.training.step import StepLosses, compute_terms
from tests.networks import EMBEDDING_DIM, network

STEPS = 30
SETTINGS: dict[str, Any] = {
    "components": ["alignment", "heatmap"],
    "alignment": {"feedback": True, "negatives": "all", "anatomy": True},
}


def losses_of_a_training(change: Tensor, adapt: bool) -> Tensor:
    """(STEPS,) losses with the embeddings E times `change`; `adapt`: the text projection starts times it, too."""
    net = network(SETTINGS, prompts_per_label=(2, 2), context=3, heads=2, deep_supervision=False, anatomy=1)
    net.text_embeddings.copy_(net.text_embeddings @ change)
    if adapt:
        net.alignment.text_projection.weight.data.copy_(net.alignment.text_projection.weight @ change)
    guidance = GuidanceLoss([1], None, anatomy=(1,))
    guidance.lambda_align.fill_(0.2)
    guidance.lambda_heat.fill_(0.5)
    losses = StepLosses(lambda output, target: F.cross_entropy(output, target[:, 0].long()), guidance)
    optimiser = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, nesterov=True, weight_decay=3e-5)
    generator = torch.Generator().manual_seed(1)
    values = []
    for _ in range(STEPS):
        image = torch.randn(2, 3, 4, 16, 16, generator=generator)
        target = torch.stack([image[:, 0] > 1, image[:, 1] > 0], dim=1).float()
        terms = compute_terms(net, image, target, losses)
        optimiser.zero_grad()
        terms.loss.backward()
        optimiser.step()
        values.append(terms.loss.detach())
    return torch.stack(values)


def test_rotated_words_train_identically() -> None:
    """E Q with a rotation Q says nothing to anyone, and trains as E does: only angles between prompts count."""
    rotation = torch.linalg.qr(torch.randn(EMBEDDING_DIM, EMBEDDING_DIM, generator=torch.Generator().manual_seed(2)))[0]
    words, rotated = losses_of_a_training(torch.eye(EMBEDDING_DIM), False), losses_of_a_training(rotation, True)
    torch.testing.assert_close(rotated, words, rtol=1e-5, atol=0)
    assert words[-1] < words[0]


@pytest.mark.parametrize("adapt", [True, False])
def test_a_change_of_the_angles_between_prompts_is_seen(adapt: bool) -> None:
    stretched = torch.diag(torch.linspace(0.2, 3, EMBEDDING_DIM))
    words, changed = losses_of_a_training(torch.eye(EMBEDDING_DIM), False), losses_of_a_training(stretched, adapt)
    assert (changed - words).abs().max() > 1e-3 * words.abs().max()
