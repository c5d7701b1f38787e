"""Reports of fake studies: what is found, what is refused, what is written."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunetv2_textguided.benchmark.report.checklists import METRICS_RELOADED
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.case_files import read_case_files
from nnunetv2_textguided.evaluation.metrics import DASH
from nnunetv2_textguided.nnunet.variant import repeat_plans
from tests.benchmark.conftest import Report
from tests.benchmark.study_builder import (
    CONFIGURATION,
    DATASET,
    METHOD,
    NO_TEXT,
    PLANS,
    RANDOM,
    STOCK,
    FakeStudy,
    Quality,
    noisy_map,
    save,
)
from tests.inference.test_executing_models import Execute

FOUR = ["--trainers", STOCK, NO_TEXT, METHOD, RANDOM]


def content(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def rows_of(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def check_card(card: str) -> None:
    """All items by number; what a report cannot know is said to be unknown, and what it knows is right."""
    found = re.findall(r"^\| (\d+|FP[\d.]+) \| ([^|]+) \| ([^|]+) \|$", card, flags=re.MULTILINE)
    rows = {number: answer for number, _, answer in found if number not in ("FP3", "FP4", "FP5")}
    assert [int(key) for key in rows if key.isdigit()] == list(range(1, 45))
    assert [(n, title) for n, title, _ in found if n.startswith("FP")] == list(METRICS_RELOADED.values())
    assert rows["5"] == rows["18"] == rows["33"] == rows["44"] == rows["FP2.7.1"] == "not reported"
    assert rows["35"].startswith("18 cases of ")
    assert "12 with a lesion; left out: none" in rows["35"]
    assert "Dice" in rows["28"]
    assert rows["FP4.2"].startswith("12 of 18 cases have a lesion")
    (empty,) = [answer for _, title, answer in found if title == "Possibility of reference without target structure"]
    assert "6 cases; positives-only" in empty
    assert "numbers within\nthem were not compared with the publication's supplement" in card


def test_everything_is_written_and_agrees(shared_study: FakeStudy, report: Report, capsys) -> None:
    folder = report(shared_study, *FOUR)
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert {"report.html", "report.json", "per_case.csv", "per_lesion.csv", "summary.csv", "comparisons.csv",
            "subgroups.csv", "costs.csv", "verdict.csv", "table.tex", "model_card.md"} <= names  # fmt: skip
    assert {f"figures/{name}.svg" for name in ("forest", "scatter", "detection", "volume", "convergence")} <= names
    assert not [name for name in names if "partial" in name]
    cases = [row for row in rows_of(folder, "per_case") if row["trainer"] == METHOD]
    assert len(cases) == 18
    dice = [float(row["dice"]) for row in cases if row["dice"]]
    assert len(dice) == 12, "a third of the cases has no lesion and does not count"
    summary = next(r for r in rows_of(folder, "summary") if r["trainer"] == METHOD and r["metric"] == "dice")
    assert float(summary["value"]) == pytest.approx(np.mean(dice))
    assert float(summary["low"]) < np.mean(dice) < float(summary["high"])
    lesions = [row for row in rows_of(folder, "per_lesion") if row["trainer"] == METHOD]
    assert len(lesions) == sum(int(row["lesions"]) for row in cases)
    assert sum(float(row["volume_ml"]) for row in lesions) == pytest.approx(
        sum(float(r["reference_ml"]) for r in cases)
    )
    check_card((folder / "model_card.md").read_text(encoding="utf-8"))
    text = capsys.readouterr().out
    assert "positives-only: cases without a reference lesion do not count" in text
    assert "For every variant: none." in text
    assert content(folder)["verdict"]["sentence"] in text


def test_repeats_are_averaged_and_each_has_its_rows(study: FakeStudy, tables: Report) -> None:
    study.validate(METHOD, Quality(shift=1.5, missed=0.1, alarms=0.4, seed=5), plans=f"{PLANS}_repeat2")
    folder = tables(study, "--trainers", STOCK, METHOD)
    rows = [row for row in rows_of(folder, "per_case") if row["trainer"] == METHOD]
    assert [(row["plans"], row["repeat"]) for row in rows] == [(PLANS, "1")] * 18 + [(PLANS, "2")] * 18
    assert len({(row["case"], row["patient"], row["fold"]) for row in rows}) == 18
    dice = [[float(row["dice"]) for row in rows if row["repeat"] == repeat and row["dice"]] for repeat in "12"]
    assert np.mean(dice[0]) > np.mean(dice[1]) + 0.05
    summary = next(r for r in rows_of(folder, "summary") if r["trainer"] == METHOD and r["metric"] == "dice")
    assert float(summary["value"]) == pytest.approx(np.mean(dice))
    assert {row["repeat"] for row in rows_of(folder, "per_lesion") if row["trainer"] == METHOD} == {"1", "2"}
    stock_dice, stock = (next(r for r in rows_of(folder, "summary") if r["trainer"] == STOCK and r["metric"] == metric)
                         for metric in ("dice", "ap"))  # fmt: skip
    method = next(r for r in rows_of(folder, "summary") if r["trainer"] == METHOD and r["metric"] == "ap")
    compared = {r["metric"]: r for r in rows_of(folder, "comparisons")}
    assert float(compared["dice"]["difference"]) == pytest.approx(np.mean(dice) - float(stock_dice["value"]))
    assert (compared["dice"]["trainings"], compared["dice"]["baseline_trainings"]) == ("6", "3")
    assert (float(compared["ap"]["difference"]) > 0) == (float(method["value"]) > float(stock["value"]))
    (check,) = [check for check in content(folder)["fairness"] if check["title"] == "Repeats"]
    assert "AlignRefine 2" in check["text"]
    assert list(content(folder)["repeats"].values()) == [[1], [1, 2]]


def test_models_are_chosen_one_by_one(study: FakeStudy, tables: Report) -> None:
    study.validate(METHOD, Quality(shift=1.5, missed=0.1, alarms=0.4, seed=5), plans="nnUNetWidePlans")
    models = [(STOCK, PLANS), (METHOD, "nnUNetWidePlans")]
    folder = tables(study, "--models", *(f"{trainer}__{plans}" for trainer, plans in models))
    assert list(dict.fromkeys((row["trainer"], row["plans"]) for row in rows_of(folder, "per_case"))) == models


def test_a_repeat_that_is_incomplete_is_named(study: FakeStudy, tables: Report) -> None:
    study.validate(METHOD, Quality(shift=1.5, missed=0.1, alarms=0.4, seed=5), plans=f"{PLANS}_repeat2")
    shutil.rmtree(study.model(METHOD, f"{PLANS}_repeat2") / "fold_1" / "validation")
    with pytest.raises(DataError, match=f"{METHOD}__{PLANS}_repeat2__3d_fullres, fold 1: not validated"):
        tables(study, "--trainers", STOCK, METHOD)


def test_identical_runs_give_no_difference(study: FakeStudy, tables: Report) -> None:
    twin = f"{METHOD}_NoRefiner"
    shutil.copytree(study.model(METHOD), study.model(twin))
    folder = tables(study, "--trainers", METHOD, twin)
    rows = rows_of(folder, "comparisons")
    assert {row["metric"] for row in rows} >= {"dice", "hd95", "auroc", "ap"}
    for row in rows:
        assert (float(row["difference"]), float(row["low"]), float(row["high"])) == (0, 0, 0), row["metric"]
        assert float(row["p"]) == float(row["p_holm"]) == 1
        assert row["significant"] == "False"
        if row["rank_biserial"]:
            assert float(row["rank_biserial"]) == 0


def plant(
    study: FakeStudy, name: str, target: float, random: np.random.Generator, repeat: int = 1, luck: float = 0.0
) -> None:
    """Predictions whose Dice is about `target` in each case: parts of the reference, all inside it.

    `luck` is the SD between trainings.
    """
    for fold, split in enumerate(study.splits):
        folder = study.model(name, repeat_plans(PLANS, repeat)) / f"fold_{fold}" / "validation"
        folder.mkdir(parents=True)
        whole = random.normal(0, luck)
        (folder / "summary.json").write_text("{}")
        for case in split["val"]:
            reference = study.references[case]
            dice = np.clip(random.normal(target + whole, 0.03), 0.05, 0.98)
            inside = np.flatnonzero(reference)
            kept = inside[: round(inside.size * dice / (2 - dice))]
            mask = np.zeros_like(reference)
            mask.flat[kept] = 1
            save(folder / f"{case}.nii.gz", mask)


def test_a_planted_difference_is_found_with_its_interval(tmp_path: Path, tables: Report) -> None:
    study, random = FakeStudy(tmp_path / "planted", cases=45, folds=5), np.random.default_rng(0)
    for repeat in (1, 2):
        plant(study, STOCK, 0.70, random, repeat)
        plant(study, METHOD, 0.75, random, repeat)
    rows = {row["metric"]: row for row in rows_of(tables(study, "--trainers", STOCK, METHOD), "comparisons")}
    dice = rows["dice"]
    assert float(dice["low"]) < 0.05 < float(dice["high"])
    assert float(dice["low"]) > 0
    assert float(dice["high"]) - float(dice["low"]) < 0.05
    assert float(dice["p"]) == float(dice["p_holm"]) < 0.02
    assert len(dice["by_fold"].split()) == 5
    assert dice["significant"] == "True"
    assert float(dice["d_z"]) > 0.5
    assert float(rows["precision"]["difference"]) == 0, "all that is predicted is inside the reference"


def test_with_repeats_a_planted_effect_is_found_and_an_identical_control_is_not(
    tmp_path: Path, report: Report, capsys
) -> None:
    """Two repeats on five folds, trainings with an SD of 0.02: the text helps by 0.06, random vectors as much."""
    study, random = FakeStudy(tmp_path / "planted", cases=60, folds=5), np.random.default_rng(3)
    for name, target in ((NO_TEXT, 0.69), (METHOD, 0.75), (RANDOM, 0.75)):
        for repeat in (1, 2):
            plant(study, name, target, random, repeat, luck=0.02)
            (study.model(name, repeat_plans(PLANS, repeat)) / "plans.json").write_text(
                json.dumps({"configurations": {CONFIGURATION: {}}})
            )
    folder = report(study, "--trainers", NO_TEXT, METHOD, RANDOM, "--pictures", "1")
    found = content(folder)["verdict"]
    rows = dict(zip(("no text", "random"), found["comparisons"], strict=True))
    assert [row["significant"] for row in rows.values()] == [True, False]
    assert rows["no text"]["trainings"] == rows["no text"]["baseline_trainings"] == 10
    for row, effect in zip(rows.values(), (0.06, 0), strict=True):
        assert row["low"] < effect < row["high"]
        assert row["high"] - row["low"] > row["high_over_patients"] - row["low_over_patients"]
    assert found["outcome"] == "guidance only"
    assert "it is not shown to beat random vectors" in found["sentence"]
    assert "intervals over patients and trainings" in found["sentence"]
    notes = " ".join(found["notes"])
    assert "The difference from no text by fold: +0." in notes
    assert "Trainings per fold and model that would find a true difference with 80% power" in notes
    assert notes in capsys.readouterr().out.replace("\n", " ")
    assert found["notes"][0] in (folder / "report.html").read_text(encoding="utf-8")


def plant_maps(study: FakeStudy, name: str, noise: float, shift: float, seed: int) -> None:
    """Two repeats of probability maps; see `noisy_map`."""
    for repeat in (1, 2):
        model = study.model(name, repeat_plans(PLANS, repeat))
        for fold, split in enumerate(study.splits):
            folder = model / f"fold_{fold}" / "validation"
            folder.mkdir(parents=True)
            (folder / "summary.json").write_text("{}")
            luck = np.random.default_rng([seed, repeat, fold]).normal(0, 0.1)
            for number, case in enumerate(split["val"]):
                random = np.random.default_rng([seed, repeat, fold, number])
                probability = noisy_map(random, study.references[case], noise + luck, shift)
                save(folder / f"{case}.nii.gz", (probability > 0.5).astype(np.uint8))
                np.savez_compressed(folder / f"{case}.npz", probabilities=np.stack([1 - probability, probability]))
        (model / "plans.json").write_text(json.dumps({"configurations": {CONFIGURATION: {}}}))


def test_better_maps_remain_better_at_fitted_thresholds_and_a_difference_of_thresholds_vanishes(
    tmp_path: Path, report: Report
) -> None:
    """Two repeats, four folds. No text has noisier maps, random vectors as good ones, stock as good ones, shifted."""
    study = FakeStudy(tmp_path / "planted", cases=40, folds=4)
    for seed, (name, noise, shift) in enumerate(
        [(METHOD, 1.0, 0.0), (NO_TEXT, 1.7, 0.0), (RANDOM, 1.0, 0.0), (STOCK, 1.0, -2.5)]
    ):
        plant_maps(study, name, noise, shift, seed)
    folder = report(study, "--trainers", METHOD, NO_TEXT, RANDOM, STOCK, "--pictures", "1")
    rows = {row["trainer"]: row for row in content(folder)["thresholds"]}
    assert {name: rows[name]["finding"] for name in (NO_TEXT, RANDOM, STOCK)} == {
        NO_TEXT: "remains at fitted thresholds",
        RANDOM: "not shown at either",
        STOCK: "a difference of thresholds",
    }
    assert rows[STOCK]["half_high"] < 0 < rows[STOCK]["change_low"]
    assert abs(rows[STOCK]["fitted_difference"]) < 0.01
    assert abs(rows[STOCK]["precision_difference"]) < 0.02
    assert all(float(t) < 0.3 for t in rows[STOCK]["thresholds"].split())
    notes = content(folder)["verdict"]["notes"]
    assert notes[-1].startswith("AlignRefine minus no text: the difference of Dice at 0.5, +0.")
    assert "remains at thresholds fitted on the other folds" in notes[-1]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "it is a difference of thresholds" in page
    assert "figures/thresholds.svg" in page
    cases = read_case_files([folder / "per_case.csv"])
    own = cases.at_thresholds(f"{STOCK}__{PLANS}", f"{METHOD}__{PLANS}")
    assert own.finding.value == rows[STOCK]["finding"], "tables of cases say what the report says"
    for name, difference in (("half", own.half), ("fitted", own.fitted), ("precision", own.precision)):
        assert difference.value == pytest.approx(rows[STOCK][f"{name}_difference"], abs=1e-6)
        assert difference.ends.low == pytest.approx(rows[STOCK][f"{name}_low"], abs=1e-6)
    (lesions,) = [r for r in content(folder)["comparisons"] if r["metric"] == "ap" and r["trainer"] == STOCK]
    found = cases.difference(f"{STOCK}__{PLANS}", f"{METHOD}__{PLANS}", "ap_lesions")
    assert found.value == pytest.approx(lesions["difference"], abs=1e-4)
    assert found.ends.low == pytest.approx(lesions["low"], abs=1e-4)


def test_without_probabilities_fitted_thresholds_are_not_known(study: FakeStudy, tables: Report) -> None:
    study.validate(f"{METHOD}_NoHeatmap", Quality(seed=3), probabilities=False)
    folder = tables(study, "--trainers", STOCK, f"{METHOD}_NoHeatmap")
    row = content(folder)["thresholds"][1]
    assert (row["finding"], row["half_difference"], row["fitted_low"]) == ("not known", None, None)
    assert row["thresholds"] == " ".join(3 * [DASH])


def test_variants_of_the_same_networks_are_compared_within_each(study: FakeStudy, tables: Report) -> None:
    """As the row refiner_off of the PI-CAI table: its folders say whose networks they hold."""
    models = ["--trainers", NO_TEXT, METHOD, "--baseline", f"{NO_TEXT}__{PLANS}__3d_fullres"]
    before = next(row for row in content(tables(study, *models))["comparisons"] if row["metric"] == "dice")
    for fold in range(study.folds):
        folder = study.folders.results / DATASET / f"{METHOD}__{PLANS}__3d_fullres" / f"fold_{fold}"
        (folder / "networks.json").write_text(json.dumps({"networks": f"{NO_TEXT}__{PLANS}__3d_fullres"}))
    within = tables(study, *models)
    names = {(row["trainer"], row["networks"]) for row in rows_of(within, "per_case")}
    assert names == {(trainer, f"{NO_TEXT}__{PLANS}__3d_fullres") for trainer in (NO_TEXT, METHOD)}
    after = next(row for row in content(within)["comparisons"] if row["metric"] == "dice")
    assert after["difference"] == pytest.approx(before["difference"])
    cases = read_case_files([within / "per_case.csv"])
    found = cases.difference(f"{METHOD}__{PLANS}", f"{NO_TEXT}__{PLANS}", "dice")
    assert found.same
    assert (found.ends.low, found.p) == pytest.approx((after["low"], after["p"]), abs=1e-6)


def test_a_single_training_of_each_model_says_nothing(study: FakeStudy, tables: Report) -> None:
    folder = tables(study, "--trainers", NO_TEXT, METHOD, "--folds", "0")
    found = content(folder)["verdict"]
    assert found["outcome"] == "unknown"
    assert "a single training of each model does not tell an effect from the chance in training" in found["sentence"]
    row = next(row for row in content(folder)["comparisons"] if row["metric"] == "dice")
    assert (row["low"], row["p"], row["significant"]) == (None, None, False)
    assert row["low_over_patients"] is not None


def test_incomplete_folds_are_refused_and_named(study: FakeStudy, tables: Report) -> None:
    case = study.splits[1]["val"][0]
    (study.model(METHOD) / "fold_1" / "validation" / f"{case}.nii.gz").unlink()
    shutil.rmtree(study.model(RANDOM) / "fold_2")
    (study.model(STOCK) / "fold_0" / "validation" / "summary.json").unlink()
    with pytest.raises(DataError) as error:
        tables(study, *FOUR)
    text = str(error.value)
    assert "3 of 12 trainings are not validated" in text
    assert f"{METHOD}__nnUNetPlans__3d_fullres, fold 1: 1 of {len(study.splits[1]['val'])} cases not predicted" in text
    assert f"{RANDOM}__nnUNetPlans__3d_fullres, fold 2: not validated" in text
    assert f"{STOCK}__nnUNetPlans__3d_fullres, fold 0: no summary.json" in text
    assert "--allow-incomplete" in text


def test_incomplete_folds_can_be_compared_on_what_all_have(study: FakeStudy, report: Report, capsys) -> None:
    case = study.splits[1]["val"][0]
    (study.model(METHOD) / "fold_1" / "validation" / f"{case}.nii.gz").unlink()
    folder = report(study, *FOUR, "--allow-incomplete")
    cases = {(row["trainer"], row["case"]) for row in rows_of(folder, "per_case")}
    assert len(cases) == 4 * 17
    assert not any(name == case for _, name in cases)
    found = content(folder)
    assert not found["complete"]
    assert found["fairness"][0]["status"] == "attention"
    assert "INCOMPLETE" in capsys.readouterr().out
    assert "INCOMPLETE" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_data_set_without_cases_csv_works(study: FakeStudy, tables: Report) -> None:
    (study.raw / "cases.csv").unlink()
    folder = tables(study, "--trainers", STOCK, METHOD)
    assert content(folder)["patients"] == 18
    divided = {row["by"] for row in rows_of(folder, "subgroups")}
    assert divided == {"fold", "lesion volume"}


def test_the_phantoms_table_is_understood(study: FakeStudy, tables: Report) -> None:
    rows = rows_of(study.raw, "cases")
    study.write_cases(
        [{"split": "Tr", "id": r["case"], "patient_id": r["patient"], "fold": 0, "csPCa": 1, "case_ISUP": r["ISUP"],
          "lesion_PIRADS": f"2,{r['PI_RADS']}", "center": r["centre"], "lesion_ml": 1} for r in rows]
    )  # fmt: skip
    folder = tables(study, "--trainers", STOCK, METHOD)
    per_case = {row["case"]: row for row in rows_of(folder, "per_case")}
    for row in rows:
        found = per_case[row["case"]]
        assert (found["patient"], found["centre"]) == (row["patient"], row["centre"])
        assert (int(found["ISUP"]), int(found["PI_RADS"])) == (int(row["ISUP"]), int(row["PI_RADS"]))
    assert {row["by"] for row in rows_of(folder, "subgroups")} == {"fold", "centre", "ISUP", "PI-RADS", "lesion volume"}


def test_a_table_that_lacks_a_case_is_an_error_with_a_way_out(study: FakeStudy, tables: Report) -> None:
    study.write_cases(rows_of(study.raw, "cases")[1:])
    with pytest.raises(DataError, match=r"lacks 1 validated cases, for example case_000"):
        tables(study, "--trainers", STOCK, METHOD)
    assert content(tables(study, "--trainers", STOCK, METHOD, "--cases", "none"))["patients"] == 18


def test_masks_alone_are_scored_but_detection_is_not_compared_with_probabilities(
    study: FakeStudy, tables: Report, capsys
) -> None:
    study.validate(f"{METHOD}_NoHeatmap", Quality(seed=3), probabilities=False)
    folder = tables(study, "--trainers", STOCK, f"{METHOD}_NoHeatmap")
    assert "Detection is NOT compared" in capsys.readouterr().out
    compared = {row["metric"] for row in rows_of(folder, "comparisons")}
    assert "dice" in compared
    assert "auroc" not in compared


def test_post_processing_is_the_same_for_all_and_printed(shared_study: FakeStudy, tables: Report, capsys) -> None:
    plain = {(r["trainer"], r["case"]): float(r["predicted_ml"])
             for r in rows_of(tables(shared_study, *FOUR), "per_case")}  # fmt: skip
    folder = tables(shared_study, *FOUR, "--largest-component", "--min-voxels", "20")
    largest = {(r["trainer"], r["case"]): float(r["predicted_ml"]) for r in rows_of(folder, "per_case")}
    assert all(largest[key] <= plain[key] for key in plain)
    assert {trainer for trainer, case in plain if largest[trainer, case] < plain[trainer, case]} >= {STOCK, METHOD}
    assert "components of fewer than 20 voxels removed, then largest component only" in capsys.readouterr().out


def test_empty_mask_convention_changes_what_counts(shared_study: FakeStudy, tables: Report) -> None:
    folder = tables(shared_study, "--trainers", STOCK, METHOD, "--empty", "paper")
    dice = [row["dice"] for row in rows_of(folder, "per_case") if row["trainer"] == METHOD]
    assert all(dice)
    assert content(folder)["options"]["scoring"]["empty"] == "paper"


def test_scores_are_reused_until_a_prediction_changes(study: FakeStudy, tables: Report, capsys) -> None:
    options = ("--trainers", STOCK, METHOD, "--empty", "paper")
    tables(study, *options)
    assert "scoring" in capsys.readouterr().err
    first = content(tables(study, *options))
    assert "scoring" not in capsys.readouterr().err
    case = next(case for case in study.splits[0]["val"] if study.references[case].any())
    path = study.model(METHOD) / "fold_0" / "validation" / case
    save(path.with_suffix(".nii.gz"), np.zeros_like(study.references[case]))
    Path(f"{path}.npz").unlink()
    folder = tables(study, *options)
    assert "1/1" in capsys.readouterr().err
    assert content(folder)["summary"] != first["summary"]


def test_a_damaged_prediction_is_an_error_that_names_the_file(study: FakeStudy, tables: Report) -> None:
    path = study.model(METHOD) / "fold_0" / "validation" / f"{study.splits[0]['val'][0]}.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError) as error:
        tables(study, "--trainers", STOCK, METHOD)
    assert str(path) in str(error.value)


def test_several_labels_are_averaged_unless_one_is_chosen(study: FakeStudy, tables: Report, capsys) -> None:
    study.describe({"background": 0, "left": 1, "right": 2})
    masks = [*(study.preprocessed / "gt_segmentations").iterdir(), *study.root.rglob("validation/*.nii.gz")]
    for path in masks:
        values = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        values[..., values.shape[2] // 2 :] *= 2
        save(path, values)
    for path in study.root.rglob("*.npz"):
        path.unlink()

    def dice(*arguments: str) -> list[float]:
        folder = tables(study, "--trainers", STOCK, METHOD, *arguments)
        return [float(row["dice"] or "nan") for row in rows_of(folder, "per_case")]

    both = dice()
    assert "scored: the mean of the labels left, right (--label chooses one)" in capsys.readouterr().out
    left, right = dice("--label", "left"), dice("--label", "right")
    assert "scored: label right" in capsys.readouterr().out
    assert np.isfinite(left).sum() > np.isfinite(right).sum() > 0, "the second lesion is the right one"
    assert both == pytest.approx([mean_of_defined(pair) for pair in zip(left, right, strict=True)], nan_ok=True)


def mean_of_defined(values: tuple[float, ...]) -> float:
    defined = [value for value in values if math.isfinite(value)]
    return sum(defined) / len(defined) if defined else math.nan


def test_ignored_voxels_count_for_nothing(study: FakeStudy, tables: Report) -> None:
    study.describe({"background": 0, "csPCa": 1, "ignore": 2})
    before = rows_of(tables(study, "--trainers", STOCK, METHOD), "summary")
    for case, reference in study.references.items():
        missed = reference.copy()
        missed[reference == 0] = 2  # all that is not lesion: every false positive vanishes
        save(study.preprocessed / "gt_segmentations" / f"{case}.nii.gz", missed)
    after = rows_of(tables(study, "--trainers", STOCK, METHOD), "summary")
    precision = [float(row["value"]) for row in after if row["metric"] == "precision"]
    assert max(float(row["value"]) for row in before if row["metric"] == "precision") < 1
    found = [float(row["value"]) for row in after if row["metric"] == "recall"]
    assert all(p <= 1 for p in precision)
    assert found == pytest.approx([float(row["value"]) for row in before if row["metric"] == "recall"])


def test_unequal_plans_and_compute_are_said(study: FakeStudy, tables: Report, capsys) -> None:
    plans = json.loads((study.model(METHOD) / "plans.json").read_text())
    plans["configurations"]["3d_fullres"]["batch_size"] = 4
    (study.model(METHOD) / "plans.json").write_text(json.dumps(plans))
    attempts = [{"software": {"torch": "2.3"}, "git_revision": "abc", "hardware": {"gpu": "A100"}}]
    for trainer, flops in ((STOCK, 1e15), (METHOD, 1.7e15)):
        for fold in range(3):
            study.record(trainer, fold, epochs=12, iterations_per_epoch=10, training_flops=flops, parameters=2.5e6,
                         splits_sha256="s", seconds_per_iteration=0.25, peak_gpu_bytes=3 << 30, attempts=attempts
                         )  # fmt: skip
    folder = tables(study, "--trainers", STOCK, METHOD, "--equal", "compute")
    checks = {check["title"]: check for check in content(folder)["fairness"]}
    compute = checks["Same compute (what these variants are meant to share)"]
    assert compute["status"] == "attention"
    assert "nnU-Net 1.00, AlignRefine 1.70" in compute["text"]
    assert "batch size: 2 (nnU-Net), 4 (AlignRefine)" in checks["Same plans"]["text"]
    assert checks["Same plans"]["status"] == "note"
    assert checks["Same folds"]["status"] == checks["Software and hardware"]["status"] == "fine"
    costs = {row["trainer"]: row for row in rows_of(folder, "costs")}
    assert float(costs[METHOD]["seconds_per_iteration"]) == 0.25
    assert costs[METHOD]["wall_seconds"] == ""
    assert float(costs[METHOD]["peak_gpu_bytes"]) == 3 << 30


def test_trainers_are_found_and_the_baseline_is_chosen(shared_study: FakeStudy, tables: Report) -> None:
    found = content(tables(shared_study, "--baseline", NO_TEXT))
    assert found["variants"] == [f"{t}__nnUNetPlans__3d_fullres" for t in (STOCK, METHOD, NO_TEXT, RANDOM)]
    assert found["baseline"].startswith(NO_TEXT)
    with pytest.raises(DataError, match="baseline 'nnUNetTrainerX' is not among the variants"):
        tables(shared_study, "--baseline", "nnUNetTrainerX")


def test_two_plans_are_two_variants(study: FakeStudy, tables: Report) -> None:
    shutil.copytree(study.model(METHOD), study.model(METHOD, "otherPlans"))
    found = content(tables(study, "--trainers", METHOD, "-p", "nnUNetPlans", "otherPlans"))
    assert len(found["variants"]) == 2
    assert {row["baseline"] for row in found["comparisons"]} == {f"{METHOD}__nnUNetPlans__3d_fullres"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--folds", "7"), "There is no fold 7"),
        (("--label", "zone"), "There is no label 'zone'"),
        (("--level", "95"), "is no coverage"),
        (("--extraction", "fast"), "is no lesion extraction"),
        (("--trainers", "nnUNetTrainerNothing"), "3 of 3 trainings are not validated"),
    ],
)
def test_mistakes_are_errors_for_users(shared_study: FakeStudy, tables: Report, arguments, message: str) -> None:
    with pytest.raises(DataError, match=message):
        tables(shared_study, *arguments)


def test_nothing_undefined_reaches_json(shared_study: FakeStudy, tables: Report) -> None:
    def numbers(value: object) -> list[float]:
        if isinstance(value, dict):
            return [n for item in value.values() for n in numbers(item)]
        if isinstance(value, list):
            return [n for item in value for n in numbers(item)]
        return [value] if isinstance(value, float) else []

    folder = tables(shared_study, *FOUR)
    assert "NaN" not in (folder / "report.json").read_text(encoding="utf-8")
    assert all(math.isfinite(number) for number in numbers(content(folder)))


def test_a_report_is_made_without_a_look_at_checkpoints(study: FakeStudy, report: Report, tmp_path: Path) -> None:
    for trainer in (STOCK, METHOD):
        for fold in range(study.folds):
            checkpoint = study.model(trainer) / f"fold_{fold}" / "checkpoint_final.pth"
            torch.save({"network_weights": {}, "note": Execute(tmp_path / "EXECUTED")}, checkpoint)
    folder = report(study, "--trainers", STOCK, METHOD)
    assert (folder / "report.html").is_file()
    assert not (tmp_path / "EXECUTED").exists()


def test_cases_that_nobody_outlined_are_left_out_for_all_and_named(study: FakeStudy, tables: Report, capsys) -> None:
    study.describe({"background": 0, "csPCa": 1, "ignore": 2})
    (case,) = sorted(study.references)[1:2]
    blind = np.full_like(study.references[case], 2)
    save(study.preprocessed / "gt_segmentations" / f"{case}.nii.gz", blind)
    report = tables(study, "--trainers", STOCK, METHOD)
    assert "note: Cases without reference: 1 validated cases are left out" in capsys.readouterr().out
    assert case not in {row["case"] for row in rows_of(report, "per_case")}
