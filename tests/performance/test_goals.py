"""The goals of docs/performance.md, each as a ratio of two things measured in turns, or of two counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from nnunetv2_textguided.anatomy.sectors import SECTORS
from nnunetv2_textguided.inference.sentence_prior import SentencePrior
from nnunetv2_textguided.losses.guidance import GuidanceLoss
from nnunetv2_textguided.losses.report import BatchReports
from nnunetv2_textguided.losses.sample_report import SampleReport
from nnunetv2_textguided.network.grounding import CaseInput
from nnunetv2_textguided.nnunet.losses import deep_supervision, stock_loss
from nnunetv2_textguided.planning.memory import SavedBytes
from nnunetv2_textguided.settings import SupervisionSettings
from nnunetv2_textguided.text.report_target import ReportedLesion, ReportTarget
from tests.performance.counts import guided_cost, released, released_cost, released_loss, stock_cost
from tests.performance.pairs import compare, counted
from tests.performance.subjects import (
    BATCH,
    DEFAULT_BANK,
    FULL_SIZE,
    NARROW,
    NO_TEXT,
    PATCH,
    SHARED,
    guided,
    stock,
    targets,
    training_step,
)

QUARTER = 4
"""Most pairs have a quarter of the plans' widths, so that they take seconds. The text's share is then larger than at
full width: convolutions shrink with the square of the widths, what the text adds with the widths or not at all."""

SMALL = (16, 64, 64)
"""Patch of the pairs at the plans' own widths, where it is the share of convolutions that matters."""


STEPS: dict[str, tuple[tuple[int, int, int], int, int]] = {
    "16 x 128 x 128, the plans' widths": (PATCH, 1, 3),
    "16 x 128 x 128, a quarter of them": (PATCH, QUARTER, 15),
    "16 x 192 x 192, a quarter of them": ((16, 192, 192), QUARTER, 9),
}
"""Patch, divisor of the widths, pairs."""


@pytest.mark.parametrize("name", STEPS)
def test_text_adds_at_most_a_twentieth_to_a_training_step(benchmark: Any, name: str) -> None:
    patch, shrink, pairs = STEPS[name]
    whole, bare = (training_step(*guided(choice, shrink=shrink), patch) for choice in ({}, NO_TEXT))
    named = f"Training step, full method : without text, {name}"
    assert not compare(benchmark, whole, bare, pairs, goal=1, name=named, limit=1.05).missed


@pytest.mark.parametrize("refine", [False, True], ids=["first stage", "second stage"])
def test_a_step_takes_a_quarter_of_the_released_method_s(benchmark: Any, refine: bool) -> None:
    ours = training_step(*guided(shrink=QUARTER))
    theirs = training_step(released(refine, QUARTER), None, loss=released_loss(refine))
    name = f"Training step, full method : released method ({'second' if refine else 'first'} stage)"
    assert not compare(benchmark, ours, theirs, 3, goal=2, name=name, limit=0.25).missed


@pytest.mark.parametrize("refine", [False, True], ids=["first stage", "second stage"])
def test_a_step_keeps_two_fifths_of_what_the_released_method_s_keeps(benchmark: Any, refine: bool) -> None:
    def ratio() -> float:
        return guided_cost().activations_per_patch / released_cost(refine).activations_per_patch

    name = f"Saved activations, full method : released method ({'second' if refine else 'first'} stage)"
    assert counted(benchmark, ratio, goal=2, name=name, limit=0.4) <= 0.4


@pytest.mark.parametrize(
    ("what", "published"), [("parameters", 4.6), ("flops_per_patch", 7.6), ("activations_per_patch", 5.4)]
)
def test_the_reconstruction_costs_what_the_released_network_costs(benchmark: Any, what: str, published: float) -> None:
    def ratio() -> float:
        return getattr(released_cost(True), what) / getattr(stock_cost(), what)

    name = (
        f"Reconstruction of the released network : stock, {what.split('_')[0]} ({published} measured on the original)"
    )
    assert counted(benchmark, ratio, goal=2, name=name) == pytest.approx(published, rel=0.15)


@pytest.mark.parametrize("components", [("alignment", "heatmap", "refiner"), ("alignment", "heatmap")], ids=len)
def test_prediction_costs_what_the_backbone_costs(benchmark: Any, components: tuple[str, ...]) -> None:
    x = torch.randn(1, 3, *PATCH)
    networks = [
        guided(choice, shrink=QUARTER, deep_supervision=False)[0].eval()
        for choice in ({"components": list(components)}, NO_TEXT)
    ]

    def predict(network: nn.Module) -> Any:
        def run() -> None:
            with torch.inference_mode():
                network(x)

        return run

    name = f"Prediction, {'full method' if 'refiner' in components else 'without refiner'} : without text"
    assert not compare(benchmark, *map(predict, networks), pairs=25, goal=3, name=name, limit=1.02).missed


@pytest.mark.parametrize("fraction", [0.01, 0.02, 0.04])
def test_the_refiner_keeps_bytes_in_proportion_to_the_gated_voxels(benchmark: Any, fraction: float) -> None:
    def ratio() -> float:
        choice = {"refiner": {"max_fraction": fraction}}
        without = guided_cost({"components": ["alignment", "heatmap"]}, patch=FULL_SIZE).activations_per_patch
        return (guided_cost(choice, patch=FULL_SIZE).activations_per_patch - without) / without

    name = f"Bytes that the refiner keeps : those of the network, 20 x 320 x 320, {fraction:.0%} gated"
    assert counted(benchmark, ratio, goal=4, name=name, limit=2 * fraction) <= 2 * fraction


ENCODERS: dict[str, tuple[Mapping[str, Any], float | None]] = {
    "width 0.625": (NARROW, 1.15),
    "shared from stage 1": (SHARED, 1.15),
    "full width": ({}, None),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_several_encoders_cost_what_their_setting_promises(benchmark: Any, name: str) -> None:
    choice, limit = ENCODERS[name]
    ours, theirs = training_step(*guided(NO_TEXT, choice), SMALL), training_step(stock(), None, SMALL)
    named = f"Training step, three encoders ({name}) without text : stock"
    ratio = compare(benchmark, ours, theirs, 5, goal=5, name=named, limit=limit)
    assert not ratio.missed


def test_the_text_losses_are_a_hundredth_of_a_step(benchmark: Any) -> None:
    network, settings = guided(shrink=QUARTER)
    with torch.no_grad():
        _, similarity = network(torch.randn(BATCH, 3, *PATCH), return_similarity=True)
    similarity.requires_grad_()
    loss, truth = GuidanceLoss([1], None), targets(PATCH)[0]

    def guidance() -> None:
        loss(similarity, truth).weighted.backward()

    step = training_step(network, settings)
    name = "Alignment and heatmap loss with their gradients : training step"
    assert not compare(benchmark, guidance, step, 5, goal=6, name=name, limit=0.01).missed


SENTENCES: dict[str, Any] = {"grounding": {"enabled": True}, "text": {"case": {"sentences": True}}}
TOKENS = {"word_dim": DEFAULT_BANK["embedding_dim"]}


def test_grounding_and_sentences_add_at_most_a_twentieth_to_a_training_step(benchmark: Any) -> None:
    """At the plans' widths: maps of 25 places cost the same at any width, a sixth of a step at a quarter of them."""
    name = next(iter(STEPS))
    patch, shrink, pairs = STEPS[name]
    told, plain = (training_step(*guided(choice, shrink=shrink, **TOKENS), patch) for choice in (SENTENCES, {}))
    named = f"Training step, grounding and sentences : without, {name}"
    assert not compare(benchmark, told, plain, pairs, goal=1, name=named, limit=1.05).missed


@pytest.mark.parametrize("prior", [False, True], ids=["", "and the prior"])
def test_a_sentence_adds_at_most_a_tenth_to_a_prediction(benchmark: Any, prior: bool) -> None:
    network = guided(SENTENCES, shrink=QUARTER, deep_supervision=False, **TOKENS)[0].eval()
    x, sentence = torch.randn(1, 3, *PATCH), torch.randn(1, 1, 16, DEFAULT_BANK["embedding_dim"])
    fitted = SentencePrior("lesion", (3.0, 2.0, -1.0, 0.0), 1.0, 0.0, 20, 10, 0.9, 0.8)
    place = ndimage.gaussian_filter(np.random.default_rng(0).random(PATCH), 4).astype(np.float32)
    shown = (place > np.quantile(place, 0.98)).astype(np.float32)  # some thirty regions

    def predict(text: CaseInput | None, prior: bool = False) -> Any:
        def run() -> None:
            with torch.inference_mode():
                network(x, text=text)
            if prior:
                fitted.shift(shown, [place], ["PI-RADS 5 lesion in the left peripheral zone"])

        return run

    pair, name = (predict(CaseInput(None, sentence), prior), predict(None)), "a sentence" + " and its prior" * prior
    assert not compare(benchmark, *pair, pairs=15, goal=3, name=f"Prediction, {name} : none", limit=1.1).missed


@pytest.mark.parametrize("name", list(STEPS)[:2])
def test_losses_from_reports_add_at_most_a_twentieth_to_a_training_step(benchmark: Any, name: str) -> None:
    """Of a batch of which one patch has a report, with a place and a diameter: half of them have, by default."""
    patch, shrink, pairs = STEPS[name]
    sectors = torch.randint(0, len(SECTORS) + 1, (BATCH, 1, *patch), dtype=torch.int16)
    extents = torch.bincount(sectors.flatten().long()).tolist()
    finding = ReportedLesion(SECTORS[0], 14.0)
    sample = SampleReport.of(ReportTarget(1, (finding,)), [int(sectors[0].numel()), *extents[1:]])
    chosen = SupervisionSettings(enabled=True)
    reports = BatchReports((sample, None), (False, False), chosen, 0.5, (3.0, 0.5, 0.5), (1,), 2, sectors=True)

    def with_reports(network: Any, data: torch.Tensor, truth: list[torch.Tensor]) -> torch.Tensor:
        outputs = network(data)
        found = torch.cat([truth[0], sectors], dim=1)
        return segmentation(outputs, truth) + reports(outputs[0], found).weighted

    def without(network: Any, data: torch.Tensor, truth: list[torch.Tensor]) -> torch.Tensor:
        return segmentation(network(data), truth)

    segmentation = deep_supervision(stock_loss(regions=False), len(targets(patch)))
    network, settings = guided(NO_TEXT, shrink=shrink)
    told, plain = (training_step(network, settings, patch, loss=loss) for loss in (with_reports, without))
    named = f"Training step, losses from reports : without, {name}"
    assert not compare(benchmark, told, plain, pairs, goal=1, name=named, limit=1.05).missed


def test_the_losses_keep_nothing_of_the_image_s_size(benchmark: Any) -> None:
    similarity = torch.randn(1, 1, 16, 32, 32, requires_grad=True)

    def ratio() -> float:
        with SavedBytes(nn.Identity()) as saved:
            GuidanceLoss([1], None)(similarity, targets(PATCH, batch=1)[0])
        return saved.total / (4 * similarity.numel())

    # A handful of maps of a sixteenth of the patch each.
    name = "Bytes that the text losses keep : one similarity map"
    assert counted(benchmark, ratio, goal=6, name=name, limit=16) < 16
