from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunetv2_textguided.errors import SettingsError
from nnunetv2_textguided.settings import Settings
from nnunetv2_textguided.settings.presets import load_preset, merge, preset_names, resolve
from nnunetv2_textguided.settings.validation import complete_settings
from tests.networks import resolved_text


def test_absent_is_the_default_preset() -> None:
    assert resolve(None) == resolve({"preset": "align_refine"})


@pytest.mark.parametrize("name", preset_names())
def test_every_shipped_preset_is_valid_and_names_itself(name: str) -> None:
    assert resolve({"preset": name}).preset == name
    assert load_preset(name)["preset"] == name


def test_the_paper_preset_has_the_numbers_of_the_released_code() -> None:
    paper = resolve({"preset": "paper"})
    assert (paper.training.epochs, paper.training.iterations_per_epoch) == (650, 300)
    assert (paper.alignment.weight, paper.heatmap.weight) == (0.2, 0.5)
    assert (paper.refiner.alpha, paper.refiner.tau, paper.refiner.gamma, paper.refiner.heads) == (0.12, 0.44, 0.1, 4)
    assert paper.optimiser.refiner_lr == 5e-4
    assert round(paper.schedule.warmup * 650) == 80
    assert round(paper.schedule.latest_ramp_start * 650) == 130


def test_defaults_then_preset_then_block_then_trainer() -> None:
    chosen = resolve({"preset": "paper", "refiner": {"tau": 0.2}}, {"refiner": {"heads": 2}})
    assert (chosen.refiner.alpha, chosen.refiner.tau, chosen.refiner.heads) == (0.12, 0.2, 2)


def test_a_complete_block_does_not_need_its_preset_any_more(tmp_path: Path) -> None:
    preset = tmp_path / "mine.json"
    preset.write_text(json.dumps({"refiner": {"tau": 0.11}}))
    complete = resolve({"preset": str(preset)}).block()
    preset.unlink()
    assert resolve(complete).refiner.tau == 0.11
    with pytest.raises(SettingsError, match="does not exist"):
        resolve({"preset": str(preset)})


def test_an_earlier_release_s_completed_block_means_what_it_meant() -> None:
    """Keys that came later have the defaults of the code, whatever today's preset says."""
    block = resolve({"text": {"resolved": resolved_text()}}).block()
    later = (("alignment", "feedback"), ("alignment", "negatives"), ("text", "geometry"), ("heatmap", "hard_negatives"))
    for section, key in (*later, ("text", "case")):
        del block[section][key]
    del block["grounding"]
    block["preset"] = "paper"
    assert complete_settings(block) == resolve(block)
    assert resolve(block).alignment.negatives == "context"
    assert not resolve(block).grounding.enabled
    there = resolve(block)
    assert (there.alignment.feedback, there.text.geometry, there.heatmap.hard_negatives) == (False, "raw", 1.0)
    assert there.refiner == resolve(None).refiner


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"refiner": {"tauu": 1}}, "refiner.tauu: unknown key; did you mean 'tau'"),
        ({"alignmnt": {}}, "alignmnt: unknown key; did you mean 'alignment'"),
        ({"zzz": 1}, "known keys: version, preset"),
        ({"refiner": {"tau": 2}}, "refiner.tau: .*less than 1"),
        ({"refiner": {"gamma": 0}}, "gamma must not be 0"),
        ({"refiner": {"dim": 30}}, "not a multiple of heads"),
        ({"alignment": {"weight": float("nan")}}, "finite"),
        ({"alignment": {"initial_scale": 200}}, "exceeds max_scale"),
        ({"alignment": 3}, "alignment: "),
        ({"preset": "pper"}, "no preset 'pper'"),
        ({"preset": 3}, "must be a name"),
        ({"version": 2}, "version: "),
        ({"segmentation_loss": {"region": "none", "voxel": "none"}}, "nothing would be learned"),
        ([1], "must be a JSON object"),
    ],
)
def test_errors_say_what_where_and_what_to_do(block: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        resolve(block, where="plans 'p', configuration 'c'")
    assert "where: " in str(caught.value)


def test_settings_are_frozen() -> None:
    with pytest.raises(Exception, match="frozen"):
        resolve(None).refiner.tau = 0.9  # type: ignore[misc]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=True) | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=6,
)
KEYS = [*Settings.model_fields, "unknown"]
SUBKEYS = ["tau", "weight", "stage", "warmup", "epochs", "width", "control", "resolved", "gamma", "lr", "odd"]
BLOCKS = st.dictionaries(
    st.sampled_from(KEYS), JSON | st.dictionaries(st.sampled_from(SUBKEYS), JSON, max_size=3), max_size=4
)


@given(BLOCKS)
def test_any_block_is_valid_or_a_clear_error(block: dict[str, Any]) -> None:
    try:
        chosen = resolve(block)
    except SettingsError:
        return  # any other exception fails the test
    assert resolve(json.loads(json.dumps(chosen.block()))) == chosen


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4), st.dictionaries(st.text(max_size=3), JSON, max_size=4))
def test_merge_keeps_every_key_and_prefers_the_override(base: dict[str, Any], override: dict[str, Any]) -> None:
    merged = merge(base, override)
    assert set(merged) == set(base) | set(override)
    assert merge(merged, {}) == merged or merged != merged
