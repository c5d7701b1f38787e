from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunetv2_textguided.schedule import History, network_epochs, phase_weights, ramp_start
from nnunetv2_textguided.settings import Settings
from nnunetv2_textguided.settings.presets import resolve


def settings(design: str = "surface", **schedule: Any) -> Settings:
    losses = {"alignment": {"weight": 0.2}, "heatmap": {"weight": 0.5}}
    return resolve({"schedule": schedule, "refiner": {"design": design}, **losses})


def test_the_default_phases_follow_each_other() -> None:
    weights = [phase_weights(e, 100, settings(), History()) for e in range(100)]
    assert [w.phase for w in weights] == (["warm-up"] * 10 + ["ramp"] * 9 + ["align"] * 71 + ["refine"] * 10)
    assert weights[9] == phase_weights(0, 100, settings(), History())
    assert (weights[14].align, weights[14].heat) == (pytest.approx(0.1), pytest.approx(0.25))
    assert (weights[89].align, weights[89].heat, weights[89].alpha) == (0.2, 0.5, 0.0)
    assert not any(w.fitting or w.refine for w in weights[:90])
    assert all(w.fitting and w.alpha == w.refine == 1.0 for w in weights[90:])


def test_the_attention_refiner_is_faded_in_and_learns_with_the_network() -> None:
    weights = [phase_weights(e, 100, settings("attention", refine=0.5), History()) for e in range(100)]
    assert [w.phase for w in weights[49:51]] == ["align", "refine"]
    assert weights[50].alpha == pytest.approx(0.1)
    assert weights[99].alpha == 1.0
    assert not any(w.fitting or w.refine for w in weights)
    assert network_epochs(100, settings("attention", refine=0.5)) == 100


def test_the_network_is_finished_before_the_surface_refiner_is_fitted() -> None:
    assert [network_epochs(n, settings()) for n in (1, 2, 5, 1000)] == [1, 1, 4, 900]
    assert network_epochs(10, settings(refine=1.0)) == 10
    assert network_epochs(10, resolve({"components": ["alignment", "heatmap"]})) == 10


def test_short_trainings_pass_through_all_phases() -> None:
    phases = [phase_weights(e, 5, settings(warmup=0.2, ramp=0.2, refine=0.6), History()).phase for e in range(5)]
    assert phases == ["warm-up", "align", "align", "refine", "refine"]


@pytest.mark.parametrize("epochs", [3, 4, 5, 7, 10, 16])
def test_the_default_schedule_has_all_phases_from_three_epochs_on(epochs: int) -> None:
    weights = [phase_weights(e, epochs, resolve(None), History()) for e in range(epochs)]
    assert list(dict.fromkeys(w.phase for w in weights if w.phase != "ramp")) == ["warm-up", "align", "refine"]
    assert weights[0].align == weights[0].alpha == 0
    assert weights[-1].alpha == 1


def test_one_and_two_epochs_go_through_the_last_phases() -> None:
    assert [phase_weights(0, 1, resolve(None), History()).phase] == ["align"]
    assert [phase_weights(e, 2, resolve(None), History()).phase for e in range(2)] == ["align", "refine"]


def test_auxiliary_losses_can_fade_in_the_refine_phase() -> None:
    faded = settings("attention", refine=0.5, auxiliary_in_refine=0.0)
    assert phase_weights(49, 100, faded, History()).align == 0.2
    assert phase_weights(54, 100, faded, History()).align == pytest.approx(0.1)
    assert phase_weights(80, 100, faded, History()).align == 0.0


def test_missing_components_have_weight_zero() -> None:
    chosen = resolve({"components": ["heatmap"]})
    last = phase_weights(40, 100, chosen, History())
    assert (last.align, last.alpha) == (0.0, 0.0)
    assert last.heat > 0
    assert phase_weights(99, 100, resolve({"components": []}), History()).phase == "segmentation"


def test_refine_at_one_never_refines() -> None:
    assert {phase_weights(e, 10, settings(refine=1.0), History()).alpha for e in range(10)} == {0.0}


DYNAMIC = resolve(
    {"schedule": {"warmup": 0.1, "latest_ramp_start": 0.4, "refine": 0.5, "dynamic": True, "stable_window": 2}}
)


def test_the_dynamic_ramp_starts_when_the_loss_is_stable() -> None:
    losses = [9.0, 8, 7, 6, 5, 4, 3, 2, 1.0, 1, 1, 1, 1, 1, 1, 1]
    falling = [100 * 0.5**i for i in range(40)]
    assert ramp_start(39, 100, DYNAMIC, History(train_losses=falling)) == 40
    assert ramp_start(39, 100, DYNAMIC, History(train_losses=losses)) == 12


def test_the_dynamic_ramp_starts_when_the_dice_is_high() -> None:
    dice = [0.01 * i for i in range(40)]
    assert ramp_start(39, 100, DYNAMIC, History(ema_dice=dice)) == 31


def test_the_dynamic_ramp_starts_at_the_latest_at_its_hard_start() -> None:
    falling = History(train_losses=[100 * 0.5**i for i in range(100)])
    assert phase_weights(39, 100, DYNAMIC, falling).phase == "warm-up"
    assert phase_weights(40, 100, DYNAMIC, falling).phase == "ramp"


@given(
    st.lists(st.floats(0.01, 10), min_size=60, max_size=60),
    st.lists(st.floats(0, 1), min_size=60, max_size=60),
    st.integers(0, 59),
)
def test_weights_do_not_depend_on_what_is_logged_later(losses: list[float], dice: list[float], epoch: int) -> None:
    """A run that is killed and continued gets the weights that it would have got."""
    whole = History(losses, dice)
    so_far = History(losses[:epoch], dice[:epoch])
    assert phase_weights(epoch, 60, DYNAMIC, whole) == phase_weights(epoch, 60, DYNAMIC, so_far)


def test_an_order_that_makes_no_sense_is_an_error() -> None:
    for bad, message in (
        ({"warmup": 0.6, "refine": 0.5}, "after the refine phase"),
        ({"dynamic": True, "warmup": 0.3, "latest_ramp_start": 0.2}, "after latest_ramp_start"),
    ):
        with pytest.raises(Exception, match=message):
            settings(**bad)


def test_reports_teach_from_their_start_on_and_not_a_network_that_is_finished() -> None:
    supervision = {"enabled": True, "weight": 0.4, "start": 0.3, "ramp": 0.2}
    for components, end in (([], 10), (["alignment", "heatmap", "refiner"], 9)):
        settings = resolve({"components": components, "text": {"supervision": supervision}})
        weights = [phase_weights(epoch, 10, settings, History()).report for epoch in range(10)]
        assert weights == [0, 0, 0, 0.2, *[0.4] * (end - 4), *[0] * (10 - end)]
    off = resolve({"text": {"supervision": {**supervision, "enabled": False}}})
    assert not any(phase_weights(epoch, 10, off, History()).report for epoch in range(10))
