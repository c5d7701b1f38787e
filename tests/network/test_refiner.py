from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from nnunetv2_textguided.losses.refiner import EDITS, RefinerLoss, edits
from nnunetv2_textguided.network.gate import Gate, Refinement, neighbourhood, sample, surface_gate
from nnunetv2_textguided.network.refiner import RefinerInput, SurfaceRefiner
from tests.networks import saved_bytes

SHAPE = (4, 6, 8)


def refiner(outputs: int = 2, regions: bool = False, **changes: object) -> SurfaceRefiner:
    """One that has learned something: its last layers start at zero."""
    torch.manual_seed(1)
    options = {"dims": 3, "dim": 8, "hidden": 12, "heads": 2, "max_fraction": 0.25, "prediction_fraction": 0.25}
    module = SurfaceRefiner((3, 5, 6), 7, 1, outputs, regions, **{**options, **changes})  # type: ignore[arg-type]
    module.alpha.fill_(1.0)
    torch.nn.init.normal_(module.head.weight)
    if module.attention is not None:
        torch.nn.init.normal_(module.attention.mix.weight)
    return module


def given(outputs: int = 2) -> RefinerInput:
    torch.manual_seed(2)
    coarse, similarity = torch.randn(2, 6, 2, 3, 4), torch.randn(2, 1, 2, 3, 4)
    logits = 2 * torch.randn(2, outputs, *SHAPE)
    return RefinerInput(
        logits, torch.randn(2, 3, *SHAPE), torch.randn(2, 5, *SHAPE), coarse, similarity, torch.randn(3, 7)
    )


def refine(module: SurfaceRefiner, read: RefinerInput) -> torch.Tensor:
    return module.refine(read.logits, module(read))


@pytest.mark.parametrize(("outputs", "regions"), [(2, False), (4, False), (3, True)])
def test_only_open_voxels_change_and_by_less_than_the_bound(outputs: int, regions: bool) -> None:
    module, read = refiner(outputs, regions, bound=1.5), given(outputs)
    refinement = module(read)
    change = refine(module, read) - read.logits
    allowed = torch.zeros(2, 192, dtype=torch.bool).scatter(1, refinement.gate.places, refinement.gate.open)
    assert torch.equal((change != 0).any(dim=1).flatten(1), allowed)
    assert 0.1 < change.abs().max() <= 1.5 + 1e-5
    if not regions:
        assert (change[:, 0] == 0).all()


def test_it_is_exactly_the_identity_at_alpha_0_when_fresh_and_where_all_is_decided() -> None:
    module, read = refiner(), given()
    module.alpha.zero_()
    assert torch.equal(refine(module, read), read.logits)
    fresh = SurfaceRefiner((3, 5, 6), 7, 1, 2, False, 3)
    fresh.alpha.fill_(1.0)
    assert torch.equal(refine(fresh, read), read.logits)
    decided = read._replace(logits=torch.stack([read.logits[:, 0] + 50, read.logits[:, 1] - 50], dim=1))
    assert torch.equal(refine(refiner(), decided), decided.logits)


def test_nothing_that_it_reads_gets_a_gradient() -> None:
    read = RefinerInput(*(tensor.requires_grad_() for tensor in given()))
    module = refiner(attends=True)
    module(read).change.square().sum().backward()
    assert all(tensor.grad is None for tensor in read)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in module.named_parameters() if "bias" not in n)


def test_the_change_differs_between_voxels_and_with_the_tokens_where_it_attends() -> None:
    module, read = refiner(attends=True), given()
    first = module(read)
    moved = first.change[:, 1][first.gate.open]
    assert moved.std() > 0.05 * moved.mean().abs()
    assert not torch.allclose(module(read._replace(tokens=read.tokens.flip(1))).change, first.change)
    deaf = refiner()
    assert torch.equal(deaf(read._replace(tokens=read.tokens.flip(1))).change, deaf(read).change)


def test_the_gate_holds_the_surface_of_an_organ_that_fills_a_fifth_of_the_patch() -> None:
    z, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in (16, 32, 32)), indexing="ij")
    distance = 1 - (((z - 7.5) / 6) ** 2 + ((y - 15.5) / 11.5) ** 2 + ((x - 15.5) / 11.5) ** 2).sqrt()
    organ = distance > 0
    assert 0.18 < organ.float().mean() < 0.22
    logits = torch.stack([torch.zeros_like(distance), 15 * distance])[None]
    # A voxel is at the surface if a neighbour across a face has the other label.
    faces = F.conv3d(F.pad(organ[None, None].float(), (1,) * 6, mode="replicate"), _faces())[0, 0]
    surface = organ & (faces < 6)
    gate = surface_gate(logits, False, 3.0, int(0.3 * organ.numel()))
    held = torch.zeros(organ.numel(), dtype=torch.bool).scatter(0, gate.places[0], gate.open[0])
    assert held.view_as(organ)[surface].float().mean() > 0.95
    assert (15 * distance.flatten()[held]).abs().max() < 3


def _faces() -> torch.Tensor:
    kernel = torch.zeros(1, 1, 3, 3, 3)
    for axis in range(3):
        for end in (0, 2):
            place = [1, 1, 1]
            place[axis] = end
            kernel[(0, 0, *place)] = 1
    return kernel


def test_the_gate_takes_the_voxels_nearest_to_any_surface() -> None:
    classes = torch.tensor([[5.0, 0, 0, 4.0], [0, 5.0, 3.0, 3.5], [0, 4.5, 2.0, -9]]).view(1, 3, 1, 2, 2)
    gate = surface_gate(classes, False, 1.0, 2)
    assert set(gate.places[gate.open].tolist()) == {1, 3}  # between the two classes, and between one and background
    regions = torch.tensor([[9.0, 9.0, -9.0, 9.0], [9.0, -0.5, -9.0, 0.2]]).view(1, 2, 1, 2, 2)
    gate = surface_gate(regions, True, 1.0, 3)
    assert set(gate.places[gate.open].tolist()) == {1, 3}
    assert gate.places.shape == (1, 3)


def test_prediction_computes_the_voxels_that_pass_and_no_others() -> None:
    open_ = torch.tensor([[False, True, False, True], [False, False, True, False]])
    gate = Gate(torch.tensor([[7, 3, 5, 1], [2, 4, 6, 0]]), open_).trimmed()
    assert gate.places.tolist() == [[3, 1], [6, 2]]
    assert gate.open.tolist() == [[True, True], [True, False]]
    nothing = Gate(torch.tensor([[7, 3]]), torch.zeros(1, 2, dtype=torch.bool)).trimmed()
    assert (nothing.places.tolist(), nothing.open.tolist()) == ([[7]], [[False]])


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e6])
def test_prediction_is_what_the_fixed_number_gives(scale: float) -> None:
    """Everything near a surface, some of it, nothing: the places that are left out change nothing."""
    module, read = refiner(prediction_fraction=0.5).eval(), given()
    read = read._replace(logits=scale * read.logits)
    with torch.no_grad():
        trimmed = module(read)
    fixed = module(read)
    assert fixed.gate.places.shape[1] == 96
    assert trimmed.gate.places.shape[1] == max(1, int(fixed.gate.open.sum(dim=1).max()))
    both = [module.refine(read.logits, one).detach() for one in (trimmed, fixed)]
    torch.testing.assert_close(*both)
    assert torch.equal(both[0], read.logits) == (scale == 1e6)


def test_windows_that_overlap_agree_about_the_gate_while_there_is_room() -> None:
    logits = 5 * torch.randn(1, 2, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    masks = []
    for window in (logits[:, :, :6], logits[:, :, 2:]):
        gate = surface_gate(window.contiguous(), False, 1.0, window[0, 0].numel() // 2)
        masks.append(torch.zeros(384, dtype=torch.bool).scatter(0, gate.places[0], gate.open[0]).view(6, 8, 8))
    assert torch.equal(masks[0][2:], masks[1][:4])
    assert 0 < masks[0].sum() < 384 // 2


@pytest.mark.parametrize("shape", [SHAPE, (6, 8)])
def test_a_neighbourhood_is_the_cube_with_replicated_borders(shape: tuple[int, ...]) -> None:
    volume = torch.randn(2, 3, *shape)
    padded = F.pad(volume, (1,) * 2 * len(shape), mode="replicate")
    for axis in range(2, padded.ndim):
        padded = padded.unfold(axis, 3, 1)
    expected = padded.flatten(2 + len(shape)).movedim(1, -2).flatten(1, len(shape)).flatten(2)
    places = torch.arange(volume[0, 0].numel())[None].expand(2, -1)
    assert torch.equal(neighbourhood(volume, places, (3,) * len(shape)), expected)


def test_sampling_follows_the_flat_order_of_the_finer_grid() -> None:
    coarse = torch.randn(2, 3, 2, 3, 4)
    expected = F.interpolate(coarse, SHAPE, mode="trilinear", align_corners=False).flatten(2).transpose(1, 2)
    places = torch.arange(192)[None].expand(2, -1)
    torch.testing.assert_close(sample(coarse, places, SHAPE), expected, rtol=1e-4, atol=1e-5)


def dense_loss(logits: torch.Tensor, truth: torch.Tensor, gate: Gate, ce_weight: float) -> torch.Tensor:
    """The same loss from whole volumes."""
    probability = torch.softmax(logits, dim=1)[:, 1:].flatten(2)
    masks = torch.stack([truth.flatten(1) == c for c in range(1, logits.shape[1])], dim=1)
    dice = 2 * (probability * masks).sum(dim=(0, 2)) / (probability.sum(dim=(0, 2)) + masks.sum(dim=(0, 2)))
    voxels = F.cross_entropy(logits.flatten(2), truth.flatten(1), reduction="none").gather(1, gate.places)
    return (1 - dice).mean() + ce_weight * voxels[gate.open].mean()


@pytest.mark.parametrize("outputs", [2, 3])
def test_the_loss_is_that_of_the_whole_refined_volume(outputs: int) -> None:
    module, read = refiner(outputs), given(outputs)
    truth = torch.randint(0, outputs, (2, *SHAPE), generator=torch.Generator().manual_seed(3))
    loss = RefinerLoss(False, None, 0.3, 0.0)
    loss.weight.fill_(2.0)
    refinement = module(read)
    value = loss(read.logits, refinement, truth[:, None])
    refined = refine(module, read)
    torch.testing.assert_close(value, 2 * dense_loss(refined, truth, refinement.gate, 0.3), rtol=1e-4, atol=1e-5)


def test_the_loss_of_regions_and_ignored_voxels_is_finite_and_skips_what_is_unknown() -> None:
    module, read = refiner(2, True), given(2)
    target = torch.rand(2, 3, *SHAPE) > 0.5
    loss = RefinerLoss(True, 3, 0.3, 1.0)
    loss.weight.fill_(1.0)
    value = loss(read.logits, module(read), target)
    assert 0 < value < 5
    changed = target.clone()
    changed[:, :2] ^= target[:, 2:]  # labels where nothing is known
    torch.testing.assert_close(loss(read.logits, module(read), changed), value)
    target[:, 2] = True
    nothing = loss(read.logits, module(read), target)
    nothing.backward()
    assert nothing.isfinite()
    assert all(p.grad is None or p.grad.abs().sum() == 0 for p in module.parameters())


def test_voxels_at_the_true_border_count_more() -> None:
    logits = torch.zeros(1, 2, 1, 1, 8)
    target = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1]).view(1, 1, 1, 1, 8)
    gate = Gate(torch.arange(8)[None], torch.ones(1, 8, dtype=torch.bool))
    change = torch.zeros(1, 2, 8, requires_grad=True)
    loss = RefinerLoss(False, None, 1.0, 2.0)
    loss.weight.fill_(1.0)
    dice = RefinerLoss(False, None, 0.0, 2.0)
    dice.weight.fill_(1.0)
    entropy = loss(logits, Refinement(gate, change), target) - dice(logits, Refinement(gate, change), target)
    (gradient,) = torch.autograd.grad(entropy, change)
    weights = gradient[0, 1].abs() / gradient[0, 1, 0].abs()
    torch.testing.assert_close(weights, torch.tensor([1.0, 1, 1, 1, 3, 3, 1, 1]))


def test_edits_are_counted_with_those_that_are_right() -> None:
    base = torch.tensor([[0.0, 0, 0, 0], [1.0, 1.0, -1.0, -1.0]]).view(1, 2, 1, 2, 2)
    gate = Gate(torch.arange(4)[None], torch.tensor([[True, True, True, False]]))
    change = torch.tensor([[0.0, 0, 0, 0], [-2.0, -0.5, 2.0, 0]])[None]
    target = torch.tensor([0, 1, 0, 1]).view(1, 1, 1, 2, 2)
    found = edits(base, Refinement(gate, change), torch.ones(()), target, False, None)
    values = dict(zip(EDITS, found.tolist(), strict=True))
    assert values == {
        "added": 1,
        "removed": 1,
        "right": 1,
        "gated": 3,
        "change": -0.5,
        "squared": 8.25,
        "voxels": 4,
    }
    off = edits(base, Refinement(gate, change), torch.zeros(()), target, False, None)
    assert off[:3].tolist() == [0, 0, 0]


def test_it_learns_to_move_a_surface_that_is_wrong_in_a_way_the_image_shows() -> None:
    """Base maps are displaced, and the image tells. No threshold repairs that; edits do, near the border."""
    generator = torch.Generator().manual_seed(0)
    module = SurfaceRefiner((1, 4, 4), 7, 1, 2, False, 3, max_fraction=0.3, prediction_fraction=0.3)
    module.alpha.fill_(1.0)
    loss = RefinerLoss(False, None, 0.3, 1.0)
    loss.weight.fill_(1.0)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    for _ in range(80):
        read, truth = _displaced(generator)
        optimiser.zero_grad()
        loss(read.logits, module(read), truth).backward()
        optimiser.step()
    module.eval()
    read, truth = _displaced(generator)
    refinement = module(read)
    values = dict(zip(EDITS, edits(read.logits, refinement, module.alpha, truth, False, None).tolist(), strict=True))
    assert min(values["added"], values["removed"]) > 20
    assert values["right"] > 0.8 * (values["added"] + values["removed"])
    moved = refinement.change[:, 1][refinement.gate.open]
    assert moved.std() > 0.05 * moved.mean().abs()
    before, after = (x.argmax(dim=1) for x in (read.logits, refine(module, read)))
    border = F.max_pool3d(before.float(), 3, 1, 1) != -F.max_pool3d(-before.float(), 3, 1, 1)
    near = F.max_pool3d(border.float(), 5, 1, 2) > 0
    assert (before != after).any()
    assert near[before != after].all()


def _displaced(generator: torch.Generator) -> tuple[RefinerInput, torch.Tensor]:
    """Two balls that the image shows, and base logits that place them 1.5 voxels to the side."""
    grid = torch.stack(torch.meshgrid(*(torch.arange(16.0),) * 3, indexing="ij"))
    centre = 6 + 4 * torch.rand(2, 3, 1, 1, 1, generator=generator)
    radius = 3 + 2 * torch.rand(2, 1, 1, 1, generator=generator)
    aside = torch.zeros(1, 3, 1, 1, 1)
    aside[0, 2] = 1.5
    inside, claimed = ((radius - (grid - c).norm(dim=1))[:, None] for c in (centre, centre + aside))
    image = torch.tanh(inside) + 0.1 * torch.randn(inside.shape, generator=generator)
    features = torch.randn(2, 4, 16, 16, 16, generator=generator)
    coarse, similarity = features[:, :, ::2, ::2, ::2], claimed[:, :, ::4, ::4, ::4]
    base = torch.cat([torch.zeros_like(claimed), 1.5 * claimed], dim=1)
    return RefinerInput(base, image, features, coarse, similarity, torch.zeros(1, 7)), (inside > 0).long()


def test_cost_follows_the_gated_fraction_and_not_the_volume() -> None:
    def kept(fraction: float) -> int:
        module = SurfaceRefiner((3, 32, 64), 7, 1, 2, False, 3, band=1e9, max_fraction=fraction)
        torch.nn.init.normal_(module.head.weight)
        shape = (8, 32, 32)
        read = RefinerInput(
            *(torch.randn(1, c, *shape, requires_grad=True) for c in (2, 3, 32)),
            torch.randn(1, 64, 8, 16, 16),
            torch.randn(1, 1, 4, 8, 8),
            torch.randn(5, 7),
        )
        return saved_bytes(lambda: module.refine(read.logits, module(read)), [*read, *module.parameters()])

    one, two, four = kept(0.01), kept(0.02), kept(0.04)
    assert (four - two) == pytest.approx(2 * (two - one), rel=0.05)
    # 8 x 32 x 32 voxels with 32 float channels are 1 MiB.
    assert one < 8 * 32 * 32 * 32 * 4
