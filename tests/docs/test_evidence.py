"""The first edition of the evidence, and the pages with tables of cases, say what their cases say."""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from sklearn.metrics import average_precision_score, roc_auc_score

from nnunetv2_textguided.cli import main
from nnunetv2_textguided.commands import benchmark_compare
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.case_files import CaseFile, read_case_files
from nnunetv2_textguided.evaluation.case_tables import Tables
from nnunetv2_textguided.evaluation.difference import Difference
from nnunetv2_textguided.settings import Settings
from nnunetv2_textguided.settings.presets import resolve
from tests.datasets import REPOSITORY
from tests.scripts import load_script

FOLDER = REPOSITORY / "docs" / "evidence"


def _script(name: str) -> ModuleType:
    return load_script(FOLDER / f"{name}.py")


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


def test_what_is_called_the_default_is_the_default(variant_settings: Callable[[str], Settings]) -> None:
    names = json.loads((FOLDER / "titles.json").read_text())["models"]
    name = next(name for name, title in names.items() if title.endswith("(default)"))
    default, trained = resolve(None).block(), variant_settings(name).block()
    for own in ("training", "optimiser"):  # what the study changes for all of its variants
        del default[own], trained[own]
    assert trained == default


def test_every_variant_is_valid_and_unlike_the_others(variant_settings: Callable[[str], Settings]) -> None:
    variants = json.loads((FOLDER / "variants.json").read_text())
    blocks = {json.dumps([variant_settings(n).block(), v.get("features")], sort_keys=True) for n, v in variants.items()}
    assert len(blocks) == len(variants)
    titles = json.loads((FOLDER / "titles.json").read_text())
    channels = _script("channels")
    without = {f"{name}_{end}" for name in channels.CHANNELS.values() for end in channels.SEEN}
    assert set(titles.pop("channels")) == without
    assert {name.removesuffix("_again") for names in titles.values() for name in names} <= variants.keys()


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


@pytest.fixture(scope="module")
def cases() -> CaseFile:
    return read_case_files([FOLDER / "per_case.csv"], {"labels": "lesion"})


@pytest.mark.parametrize(
    ("name", "files", "titles", "rows"),
    [
        ("evidence_first.md", ["per_case.csv"], "titles.json", 60),
        ("reports.md", ["reports.csv"], "titles_reports.json", 14),
        ("case_text_evidence.md", ["patient_text.csv", "sentence_prior.csv"], "titles_patient_text.json", 25),
    ],
)
def test_the_page_has_the_tables_of_its_cases(
    tmp_path: Path, name: str, files: list[str], titles: str, rows: int
) -> None:
    page, original = tmp_path / name, REPOSITORY / "docs" / name
    shutil.copy(original, page)
    tables = [str(FOLDER / file) for file in [*files, "thresholds.csv"]]
    words = ["--where", "labels=lesion", "--titles", str(FOLDER / titles), "--into", str(page)]
    assert main(["benchmark", "compare", *tables, *words]) == 0
    made, stated = page.read_text().splitlines(), original.read_text().splitlines()
    assert len([line for line in made if line.startswith("|")]) > rows
    assert made == stated, "run the command on the page that makes its tables"


def test_the_claims_are_the_estimator_s(cases: CaseFile) -> None:
    """The sentences of pages and README about the default, from its cases."""
    default, page = "anatomy_strong_feedback", " ".join((REPOSITORY / "docs" / "evidence_first.md").read_text().split())
    readme = " ".join((REPOSITORY / "README.md").read_text().split())
    gain = cases.difference(default, "no_text", "dice")
    stated = (
        f"{gain.value:+.3f} Dice over the same network without text, with an interval over patients and trainings of "
    )
    assert f"{stated}[{gain.ends.low:+.3f}, {gain.ends.high:+.3f}]" in page
    assert gain.p > 0.05, "not shown"
    assert gain.folds_differ
    by_fold = [f"{value:+.3f}" for value in gain.by_fold]
    assert f"by fold it is {', '.join(by_fold[:-1])} and {by_fold[-1]}" in page
    rest = Difference(tuple(fold for fold in gain.folds if fold.number != 2))
    assert f"the third fold {rest.value:+.3f} [{rest.ends.low:+.3f}, {rest.ends.high:+.3f}]" in page
    random = cases.difference(default, f"{default}_random", "dice")
    ends = f"[{random.ends.low:+.3f}, {random.ends.high:+.3f}]"
    assert f"lie {random.value:.3f} below {ends}" in page
    assert "guidance by fixed prompts is not shown to help" in readme
    assert f"{gain.value:+.3f} [{gain.ends.low:+.3f}, {gain.ends.high:+.3f}] at 0.5" in readme
    assert "Intervals are over patients and trainings" in readme
    assert f"lie {random.value:.3f} below, {ends}" in readme
    assert f"SD of Dice {cases.values('no_text', 'dice')[1]:.3f} without text" in page


def test_detection_of_cases_is_scikit_learn_s_within_each_training() -> None:
    random = np.random.default_rng(0)
    lesions, score = random.integers(0, 2, 40), np.round(random.random(40), 1) + 0.01  # with ties
    dice = np.where(lesions, random.random(40), np.nan)
    rows = {"model": "a", "repeat": "1", "fold": 0, "patient": range(40), "case": [f"c{i:02d}" for i in range(40)]}
    found = CaseFile(pd.DataFrame({**rows, "lesions": lesions, "dice": dice, "score": score}))
    assert found.values("a", "auroc")[0] == pytest.approx(roc_auc_score(lesions, score))
    assert found.values("a", "ap")[0] == pytest.approx(average_precision_score(lesions, score))
    assert found.values("a", "dice")[0] == pytest.approx(np.nanmean(dice))
    assert found.values("a", "missed")[0] == pytest.approx((dice[lesions > 0] < 0.1).mean())


def test_tables_of_cases_that_cannot_be_compared_are_errors(tmp_path: Path) -> None:
    file = tmp_path / "cases.csv"
    file.write_text("model,repeat,fold,case,lesions,dice,score\na,1,0,x,1,0.5,0.9\na,1,0,x,1,0.4,0.8\n")
    with pytest.raises(DataError, match="Case x of a, repeat 1, is there twice"):
        read_case_files([file])
    with pytest.raises(DataError, match="no column 'labels'"):
        read_case_files([file], {"labels": "lesion"})
    file.write_text("model,case\na,x\n")
    with pytest.raises(DataError, match="no column repeat, fold, lesions, dice, score"):
        read_case_files([file])
    with pytest.raises(DataError, match="cannot be read"):
        read_case_files([tmp_path / "none.csv"])
    with pytest.raises(DataError, match="no choice of rows"):
        benchmark_compare.run(argparse.Namespace(files=[file], where=["labels"], titles=None, baseline=None, into=None))


def test_a_page_that_asks_for_nothing_is_an_error(cases: CaseFile) -> None:
    with pytest.raises(DataError, match="asks for no table"):
        Tables(cases, {}).fill("# Nothing")
    with pytest.raises(DataError, match="There is no model 'nothing'"):
        Tables(cases, {}).fill("<!-- values: nothing -->\n<!-- end -->")


def test_a_request_takes_one_repeat_alone() -> None:
    rows = {"model": ["a", "b", "b"] * 40, "repeat": ["1", "1", "2"] * 40, "patient": np.repeat(range(40), 3)}
    table = pd.DataFrame({**rows, "case": rows["patient"], "fold": rows["patient"] % 5, "lesions": 1, "score": 0.5})
    table["dice"], table["networks"] = np.tile([0.5, 0.4, 0.1], 40), table["model"]
    page = "<!-- differences: a minus b{} -->\n<!-- end -->"
    alone, over_all = (Tables(CaseFile(table), {}).fill(page.format(which)) for which in (", repeat 1", ""))
    assert alone.startswith("<!-- differences: a minus b, repeat 1 -->\n| minus b | trainings |")
    assert "| a | 5 and 5 | +0.100 |" in alone
    assert "| a | 5 and 10 | +0.250 |" in over_all
    assert Tables(CaseFile(table), {}).fill(alone) == alone


def test_a_report_s_cases_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = _script("study")
    monkeypatch.setattr(study, "CASES", tmp_path / "kept.csv")
    header = "labels,model,repetition,fold,case,lesions,dice,score\n"
    (tmp_path / "kept.csv").write_text(header + "lesion,no_text,cpu 1,0,x,1,0.5,0.9\n")
    (tmp_path / "per_case.csv").write_text(
        "trainer,plans,repeat,fold,case,lesions,dice,score\n"
        "nnUNetTrainerAlignRefine,nnUNetPlans_no_text,1,0,x,1,0.4,0.8\n"
        "nnUNetTrainerAlignRefine_NoText,nnUNetPlans,1,0,x,1,0.3,0.7\n"
    )
    study.keep(tmp_path, "cpu 1", "lesion")
    assert (tmp_path / "kept.csv").read_text() == header + "lesion,no_text,cpu 1,0,x,1,0.5,0.9\n"
    study.keep(tmp_path, "cpu 2", "lesion")
    assert "lesion,no_text,cpu 2,0,x,1,0.4,0.8" in (tmp_path / "kept.csv").read_text()


def test_finished_trainings_replace_their_own_rows_alone(tmp_path: Path) -> None:
    """Trainings of other machines are nowhere but in the table: keeping new ones must not lose them."""
    rows, table = _script("rows"), tmp_path / "cases.csv"
    old = [{"model": m, "repeat": r, "fold": f, "case": f"c{f}", "dice": 0.1}
           for m in ("a", "b") for r in (1, 2) for f in (0, 1)]  # fmt: skip
    rows.write_rows(table, old)
    rows.keep_rows(table, [{"model": "a", "repeat": 2, "fold": 1, "case": "c1", "dice": 0.9, "networks": "n"}])
    found = pd.read_csv(table)
    assert len(found) == 8
    again = (found.model == "a") & (found.repeat == 2) & (found.fold == 1)
    assert found[again][["dice", "networks"]].to_numpy().tolist() == [[0.9, "n"]]
    assert (found[~again].dice == 0.1).all()
    assert found[~again].networks.isna().all(), "not said of the others"
    before = table.read_bytes()
    rows.keep_rows(table, [])
    assert table.read_bytes() == before


def test_the_protocol_s_models_are_the_study_s_plans(variant_settings: Callable[[str], Settings]) -> None:
    models = _script("models")
    settings = {name: variant_settings(name) for name in models.MODELS}
    default = settings["anatomy_strong_feedback_no_refiner"]
    assert "refiner" not in default.components
    assert settings["no_text"].components == ()
    assert settings["stock_wide"].encoders.arrangement == "single"
    assert settings["narrow"] == default.model_copy(update={"encoders": settings["narrow"].encoders})
    assert settings["shared"].encoders.shared_from_stage == 1
    assert settings["narrow"].encoders.width == 0.625
    assert settings["channel_dropout"].training.channel_dropout == 0.25
    assert settings["channel_dropout"].encoders == default.encoders
