"""The refiner of a small network that is trained here, first without and then with nothing but its refiner learning."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nnunetv2_textguided.losses.refiner import EDITS, RefinerLoss, edits
from nnunetv2_textguided.network import AlignRefineUNet
from nnunetv2_textguided.network.gate import Refinement
from tests.networks import architecture, network

SHAPE = (8, 32, 32)
REFINER = {"refiner": {"max_fraction": 0.1, "prediction_fraction": 0.1}}


class Trained(NamedTuple):
    """A network, and what it does to images that it never saw."""

    network: AlignRefineUNet
    images: Tensor
    truth: Tensor
    base: Tensor
    refinement: Refinement
    refined: Tensor


def draw(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noisy images (count, 3, *S) of one ball each, and its mask (count, 1, *S)."""
    grid = torch.stack(torch.meshgrid(*(torch.arange(float(size)) for size in SHAPE), indexing="ij"))
    size = torch.tensor(SHAPE).view(1, 3, 1, 1, 1)
    centre = size * (0.35 + 0.3 * torch.rand(count, 3, 1, 1, 1, generator=generator))
    radius = 4 + 4 * torch.rand(count, 1, 1, 1, generator=generator)
    distance = ((grid - centre) * torch.tensor([2.0, 1, 1]).view(1, 3, 1, 1, 1)).norm(dim=1)
    inside = (radius - distance)[:, None]
    images = torch.sigmoid(inside) + 0.4 * torch.randn(count, 3, *SHAPE, generator=generator)
    return images, (inside > 0).long()


@pytest.fixture(scope="module")
def trained() -> Trained:
    net = network(REFINER, plans=architecture(features=(4, 8, 8)))
    assert net.refiner is not None
    generator = torch.Generator().manual_seed(1)
    optimiser = torch.optim.Adam([p for n, p in net.named_parameters() if not n.startswith("refiner.")], lr=5e-3)
    for _ in range(25):
        images, truth = draw(2, generator)
        optimiser.zero_grad()
        F.cross_entropy(net(images), truth[:, 0]).backward()
        optimiser.step()
    loss = RefinerLoss(False, None, 0.3, 1.0)
    loss.weight.fill_(1.0)
    net.refiner.alpha.fill_(1.0)
    net.requires_grad_(False).refiner.requires_grad_(True)  # type: ignore[union-attr]
    optimiser = torch.optim.Adam(net.refiner.parameters(), lr=5e-3)
    for _ in range(50):
        images, truth = draw(2, generator)
        base, _, refinement, _ = net(images, return_similarity=True, return_refinement=True)
        optimiser.zero_grad()
        loss(base, refinement, truth).backward()
        optimiser.step()
    net.eval()
    images, truth = draw(4, generator)
    with torch.no_grad():
        base, _, refinement, _ = net(images, return_similarity=True, return_refinement=True)
        return Trained(net, images, truth, base, refinement, net(images))


def test_it_flips_voxels_and_most_of_its_edits_are_right(trained: Trained) -> None:
    alpha = trained.network.refiner.alpha  # type: ignore[union-attr]
    sums = edits(trained.base, trained.refinement, alpha, trained.truth, regions=False, ignore_label=None)
    values = dict(zip(EDITS, sums.tolist(), strict=True))
    flipped = values["added"] + values["removed"]
    assert flipped > 20
    assert values["right"] > 0.6 * flipped


def test_its_change_varies_over_voxels(trained: Trained) -> None:
    change = trained.refinement.change[:, 1][trained.refinement.gate.open]
    assert change.std() > 0.05 * change.mean().abs()


def test_its_edits_lie_within_three_voxels_of_the_base_boundary(trained: Trained) -> None:
    before, after = trained.base.argmax(dim=1), trained.refined.argmax(dim=1)
    border = F.max_pool3d(before.float(), 3, 1, 1) != -F.max_pool3d(-before.float(), 3, 1, 1)
    near = F.max_pool3d(border.float()[:, None], 5, 1, 2)[:, 0] > 0
    assert near[before != after].all()


def test_its_change_differs_between_prompts(trained: Trained) -> None:
    net = trained.network
    words = net.text_embeddings.clone()
    with torch.no_grad():
        decoded = net.decode(net.encoder(trained.images), explained=True)
        try:
            net.set_text(F.normalize(torch.randn(words.shape, generator=torch.Generator().manual_seed(2)), dim=1))
            other = net.refinement(trained.images, decoded)
        finally:
            net.set_text(words)
    assert other is not None
    assert torch.equal(other.gate.places, trained.refinement.gate.places)
    change = (other.change - trained.refinement.change)[:, 1][other.gate.open]
    assert change.abs().max() > 1e-4
    assert change.std() > 0.01 * change.mean().abs()


def test_without_strength_it_is_the_network_without_a_refiner(trained: Trained) -> None:
    net = trained.network
    plain = network({"components": ["alignment", "heatmap"]}, plans=architecture(features=(4, 8, 8))).eval()
    plain.load_state_dict({n: v for n, v in net.state_dict().items() if not n.startswith("refiner.")})
    assert torch.equal(plain(trained.images), trained.base)
    net.refiner.alpha.fill_(0.0)  # type: ignore[union-attr]
    try:
        with torch.no_grad():
            assert torch.equal(net(trained.images), trained.base)
    finally:
        net.refiner.alpha.fill_(1.0)  # type: ignore[union-attr]
