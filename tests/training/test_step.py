"""The function that training and planning share, and the collaborators of the trainer, without nnU-Net's trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nnunetv2_textguided.errors import TrainingError
from nnunetv2_textguided.losses.guidance import GuidanceLoss
from nnunetv2_textguided.network.grounding import CaseInput
from nnunetv2_textguided.planning.step import Labels, step_loss
from nnunetv2_textguided.schedule import PhaseWeights
from nnunetv2_textguided.settings.presets import resolve
from nnunetv2_textguided.training.checkpoints import Checkpoints
from nnunetv2_textguided.training.step import StepLosses, StepTerms, Told, compute_terms, losses_of, optimise
from nnunetv2_textguided.training.text import TrainingText
from nnunetv2_textguided.training.text_guidance import TextGuidance
from tests.networks import EMBEDDING_DIM, block, network

X = torch.randn(2, 3, 4, 16, 16, generator=torch.Generator().manual_seed(0))


def cross_entropy(outputs: list[torch.Tensor], targets: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack([F.cross_entropy(o, t[:, 0].long()) for o, t in zip(outputs, targets, strict=True)]).sum()


def targets(outputs: list[torch.Tensor]) -> list[torch.Tensor]:
    made = [torch.zeros_like(output[:, :1]) for output in outputs]
    for target in made:
        target[..., : target.shape[-1] // 2] = 1
    return made


def guidance(align: float, heat: float, anatomy: tuple[int, ...] = ()) -> GuidanceLoss:
    loss = GuidanceLoss([1], None, anatomy=anatomy)
    loss.lambda_align.fill_(align)
    loss.lambda_heat.fill_(heat)
    return loss


def test_the_loss_is_the_weighted_sum_of_its_terms() -> None:
    net = network(deep_supervision=True)
    terms = compute_terms(net, X, targets, StepLosses(cross_entropy, guidance(0.3, 0.7)))
    expected = terms.loss_seg + 0.3 * terms.loss_align + 0.7 * terms.loss_heat
    torch.testing.assert_close(terms.loss, expected)
    assert terms.loss_seg.item() == cross_entropy(net(X), targets(net(X))).item()
    assert 0 < terms.similarity_foreground < 1


def test_without_text_the_loss_is_the_segmentation_loss() -> None:
    net = network({"components": []}, deep_supervision=True)
    terms = compute_terms(net, X, targets, StepLosses(cross_entropy, None))
    assert terms.loss is terms.loss_seg
    assert (float(terms.loss_align), float(terms.loss_heat)) == (0, 0)
    assert terms.similarity_foreground.isnan()


def test_targets_can_be_given_or_made_from_the_outputs() -> None:
    net = network(deep_supervision=True)
    losses = StepLosses(cross_entropy, guidance(0.3, 0.7))
    given = compute_terms(net, X, targets(net(X)), losses)
    assert [value.item() for value in given] == [value.item() for value in compute_terms(net, X, targets, losses)]


def test_the_segmentation_loss_does_not_see_the_anatomy() -> None:
    net = network(deep_supervision=True, prompts_per_label=(2, 2, 2), anatomy=2)
    seen = []

    def watched(outputs: Any, given: list[torch.Tensor]) -> torch.Tensor:
        seen.extend(target.shape[1] for target in given)
        return cross_entropy(outputs, given)

    def zones(value: int) -> Any:
        return lambda outputs: [torch.cat([t, torch.full_like(t, value)], 1) for t in targets(outputs)]

    losses = StepLosses(watched, guidance(1.0, 1.0, (1, 2)))
    first, second = (compute_terms(net, X, zones(value), losses) for value in (1, 2))
    assert set(seen) == {1}
    assert first.loss_seg == second.loss_seg
    assert first.loss_align != second.loss_align


def test_the_planner_counts_the_step_that_the_trainer_takes() -> None:
    settings = resolve(block())
    net = network(deep_supervision=True)
    loss = step_loss(Labels(("csPCa",), False), settings)
    outputs = net(X)
    assert loss(net, X).item() == loss(net, X, [torch.zeros_like(output[:, :1]) for output in outputs]).item()


def test_a_step_that_fails_leaves_the_weights() -> None:
    layer = nn.Linear(2, 1)
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.1)
    before = layer.weight.detach().clone()

    def take(factor: float) -> tuple[np.ndarray, bool]:
        optimiser.zero_grad()
        loss = factor * layer(torch.ones(1, 2)).sum()
        zero = torch.zeros(())
        return optimise(StepTerms(loss, loss, *[zero] * (len(StepTerms._fields) - 2)), optimiser, None)

    values, failed = take(float("nan"))
    assert failed
    assert np.isnan(values[0])
    assert torch.equal(layer.weight, before)
    values, failed = take(1.0)
    assert not failed
    assert values.dtype == np.float32
    parts = ("seg", "align", "heat", "refine", "ground", "report_place", "report_outside", "report_volume")
    assert set(losses_of(values)) == {"loss", *(f"loss_{part}" for part in parts)}
    torch.testing.assert_close(layer.weight, before - 0.1)


@pytest.mark.parametrize("control", ["none", "learned"])
def test_a_network_gets_the_text_unless_it_learns_its_own(control: str) -> None:
    settings = resolve(block({"text": {"control": control}}))
    net = network({"text": {"control": control}})
    resolved = settings.text.resolved
    assert resolved is not None
    pooled = torch.ones(len(resolved.prompts), resolved.embedding_dim)
    text = TextGuidance(TrainingText(resolved, pooled, None), settings)
    text.set_text(net)
    assert torch.equal(net.text_embeddings, pooled) == (control == "none")
    text.set_weights(PhaseWeights("refine", 0.1, 0.2, 0.5), net)
    assert net.refiner is not None
    assert float(net.refiner.alpha) == 0.5
    assert "control 'learned'" in str(text.describe()) or control == "none"


def test_a_checkpoint_that_cannot_be_written_leaves_the_former(tmp_path: Path) -> None:
    def first(name: str) -> None:
        Path(name).write_bytes(b"first")

    checkpoints, path = Checkpoints({}, "3d_fullres", continued=False), tmp_path / "checkpoint_latest.pth"
    checkpoints.write(str(path), first)

    def full(name: str) -> None:
        Path(name).write_bytes(b"sec")
        raise OSError("No space left on device")

    with pytest.raises(TrainingError, match="No space left") as raised:
        checkpoints.write(str(path), full)
    assert "the former checkpoint stands" in str(raised.value)
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_without_case_text_a_step_is_the_same_to_the_bit() -> None:
    on = {"grounding": {"enabled": True}, "text": {"case": {"sentences": True, "clinical": True}}}
    losses = StepLosses(cross_entropy, guidance(0.3, 0.7))
    plain, told = network(deep_supervision=True), network(on, deep_supervision=True)
    told.load_state_dict(plain.state_dict(), strict=False)
    torch.nn.init.normal_(told.grounding.meaning.weight)  # as after training
    said = Told(CaseInput(None, torch.zeros(2, 3, 1, EMBEDDING_DIM)), torch.zeros(0, 24))
    each = [
        compute_terms(net, X, targets, losses, None, text) for net, text in ((plain, None), (told, None), (told, said))
    ]
    for terms in each[1:]:
        assert [value.item() for value in terms] == [value.item() for value in each[0]]
    for terms in each:
        terms.loss.backward()
    for name, parameter in plain.named_parameters():
        assert torch.equal(parameter.grad, told.get_parameter(name).grad / 2), name
