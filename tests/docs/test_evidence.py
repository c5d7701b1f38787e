"""docs/evidence.md says what its cases say."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from sklearn.metrics import average_precision_score, roc_auc_score

from nnunetv2_textguided.presets import resolve
from nnunetv2_textguided.settings import Settings
from tests.datasets import REPOSITORY

FOLDER = REPOSITORY / "docs" / "evidence"


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"evidence_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def compare() -> ModuleType:
    return _script("compare")


@pytest.fixture
def variant_settings(tmp_path: Path) -> Callable[[str], Settings]:
    """The settings that the study trains a variant with."""
    study = _script("study")
    stock = {"configurations": {"3d_fullres": {"architecture": {"arch_kwargs": {}}}}}
    (tmp_path / "stock.json").write_text(json.dumps(stock))

    def settings(name: str) -> Settings:
        study.write_plans(tmp_path / "stock.json", "written", study.VARIANTS[name])
        plans = json.loads((tmp_path / "written.json").read_text())
        return resolve(plans["configurations"]["3d_fullres"]["text_guidance"])

    return settings


def test_what_is_called_the_default_is_the_default(
    compare: ModuleType, variant_settings: Callable[[str], Settings]
) -> None:
    name = next(name for name, title in compare.NAMES.items() if title.endswith("(default)"))
    default, trained = resolve(None).block(), variant_settings(name).block()
    for own in ("training", "optimiser"):  # what the study changes for all of its variants
        del default[own], trained[own]
    assert trained == default


def test_every_variant_is_valid_and_unlike_the_others(variant_settings: Callable[[str], Settings]) -> None:
    variants = json.loads((FOLDER / "variants.json").read_text())
    blocks = {json.dumps([variant_settings(n).block(), v.get("features")], sort_keys=True) for n, v in variants.items()}
    assert len(blocks) == len(variants)
    titles = json.loads((FOLDER / "titles.json").read_text())
    assert {name for names in titles.values() for name in names} <= variants.keys()


def _trainings(seed: int, gain: float = 0.0) -> pd.DataFrame:
    """Three folds and two repetitions of two models; `b` is better by `gain`, and every training has its own luck."""
    random, rows = np.random.default_rng(seed), []
    for fold in range(3):
        for case in range(30):
            difficulty, lesions = random.normal(0.5, 0.1), int(case % 2)
            rows += [
                {"model": m, "repetition": r, "fold": fold, "case": f"{fold}{case}_1", "lesions": lesions,
                 "dice": difficulty if lesions else np.nan, "score": difficulty}
                for m in "ab" for r in "12"
            ]  # fmt: skip
    frame = pd.DataFrame(rows)
    for _, own in frame.groupby(["model", "fold", "repetition"]):
        frame.loc[own.index, "dice"] += random.normal(0, 0.02)
    frame.loc[frame["model"] == "b", "dice"] += gain
    return frame


def test_weighted_detection_is_that_of_repeated_cases(compare: ModuleType) -> None:
    random = np.random.default_rng(0)
    score = np.round(random.random(40), 1)  # with ties
    training = pd.DataFrame({"lesions": random.integers(0, 2, 40), "dice": random.random(40), "score": score})
    weights = random.integers(0, 4, (5, 40))
    found = compare.statistics(training, weights)
    for row, (area, precision, dice) in enumerate(zip(found["auroc"], found["ap"], found["dice"], strict=True)):
        again = training.loc[np.repeat(np.arange(40), weights[row])]
        assert area == pytest.approx(roc_auc_score(again["lesions"], again["score"]))
        assert precision == pytest.approx(average_precision_score(again["lesions"], again["score"]))
        assert dice == pytest.approx(again.loc[again["lesions"] > 0, "dice"].mean())


def test_a_training_without_positive_cases_has_no_statistics(compare: ModuleType) -> None:
    training = pd.DataFrame({"lesions": [0, 0], "dice": [np.nan, np.nan], "score": [0.1, 0.2]})
    assert all(np.isnan(values).all() for values in compare.statistics(training, np.ones((1, 2))).values())


def test_intervals_over_trainings_cover_what_is_true(compare: ModuleType) -> None:
    compare_replicates, compare.REPLICATES = compare.REPLICATES, 2
    try:
        bounds = [compare.Study(_trainings(seed, gain=0.03)).between("b", "a", "dice") for seed in range(100)]
    finally:
        compare.REPLICATES = compare_replicates
    assert 89 <= sum(low < 0.03 < high for low, high in bounds) <= 100
    assert np.mean([high - low for low, high in bounds]) < 0.08


def test_a_training_that_learned_nothing_widens_its_own_intervals_alone(compare: ModuleType) -> None:
    two = _trainings(0)
    third = two[two["model"] == "a"].assign(model="c")
    third.loc[(third["fold"] == 0) & (third["repetition"] == "1") & (third["lesions"] > 0), "dice"] = 0.0
    alone, study = compare.Study(two), compare.Study(pd.concat([two, third]))
    assert study.collapsed() == {"c"}
    assert study.between("b", "a", "dice") == pytest.approx(alone.between("b", "a", "dice"))
    low, high = study.between("c", "a", "dice")
    assert high - low > 5 * np.ptp(alone.between("b", "a", "dice"))


def test_the_heatmap_s_table_is_of_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    labels, heatmaps = tmp_path / "labels", tmp_path / "out" / "heatmaps" / "csPCa"
    for folder in (labels, heatmaps):
        folder.mkdir(parents=True)
    for case in ("a", "b"):
        chance = random.random((8, 32, 32), dtype=np.float32)
        truth = (random.random(chance.shape) < chance).astype(np.uint8)
        np.savez(tmp_path / "out" / f"{case}.npz", probabilities=np.stack([chance, 1 - chance]))  # the wrong way round
        sitk.WriteImage(sitk.GetImageFromArray(chance), str(heatmaps / f"{case}.nii.gz"))
        sitk.WriteImage(sitk.GetImageFromArray(truth), str(labels / f"{case}.nii.gz"))
    script = _script("heatmap")
    script.main([str(tmp_path / "out"), str(labels)])
    heat, segmentation = (_numbers(row) for row in capsys.readouterr().out.splitlines()[-2:])
    assert heat == pytest.approx([0, 1 / 6, 5 / 6], abs=0.02)
    assert segmentation == pytest.approx([0.5, 0.5, 0.3], abs=0.05)
    with pytest.raises(SystemExit, match="--save_probabilities"):
        script.main([str(labels), str(labels)])


def _numbers(line: str) -> list[float]:
    return [float(number) for number in re.findall(r"[-+]?\d+\.\d+|nan", line)]


def test_the_page_has_the_tables_of_its_cases(compare: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    page = [line for line in (REPOSITORY / "docs" / "evidence.md").read_text().splitlines() if line.startswith("|")]
    compare.main([])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(lines) > 10

    def stated(line: str) -> bool:
        # Another numpy may draw other replicates: the last digit is left some freedom.
        same = [_numbers(row) for row in page if row.split("|")[1] == line.split("|")[1]]
        return any(np.allclose(_numbers(line), row, atol=0.0021) for row in same if len(row) == len(_numbers(line)))

    missing = [line for line in lines if not stated(line)]
    assert not missing, "run python docs/evidence/compare.py and copy its tables:\n" + "\n".join(missing)
