"""Evaluating folders: every kind of prediction, damaged ones, targets, folds, the report and its files."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_textguided.cli import main
from nnunetv2_textguided.evaluation.predictions import Files, Kind, find_predictions, read_prediction
from nnunetv2_textguided.extras import require
from nnunetv2_textguided.nnunet.labels import PICAI_TARGET, Target

SHAPE = (6, 24, 24)
LESION = (slice(2, 4), slice(8, 14), slice(8, 14))


def save(path: Path, values: np.ndarray, spacing=(0.5, 0.5, 3.0)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = sitk.GetImageFromArray(values)
    made.SetSpacing(spacing)
    sitk.WriteImage(made, str(path))
    return path


def probability(peak: float, where: tuple[slice, ...] = LESION) -> np.ndarray:
    made = np.full(SHAPE, 0.001, dtype=np.float32)
    made[where] = peak
    made[where][0, 0, 0] = peak * 0.9  # not one value per component: a probability map, not a detection map
    return made


def softmax(target: np.ndarray, channel: int = 1, channels: int = 2) -> np.ndarray:
    made = np.zeros((channels, *target.shape), dtype=np.float32)
    made[channel] = target
    made[0] = 1 - target
    return made


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Predictions and labels of three cases: a hit, a missed lesion, and a false alarm."""
    predictions, labels = tmp_path / "predictions", tmp_path / "labelsTr"
    reference = np.zeros(SHAPE, dtype=np.uint8)
    reference[LESION] = 1
    predictions.mkdir()
    for case, label, peak in (("1_1", reference, 0.8), ("2_1", reference, 0.002), ("3_1", reference * 0, 0.6)):
        save(labels / f"{case}.nii.gz", label)
        np.savez_compressed(predictions / f"{case}.npz", probabilities=softmax(probability(peak)))
        save(predictions / f"{case}.nii.gz", (probability(peak) > 0.5).astype(np.uint8))
    return predictions, labels


def run(folders: tuple[Path, Path], *arguments: str) -> int:
    """Run the command; returns its exit status."""
    predictions, labels = folders
    paths = ["--predictions", str(predictions), "--labels", str(labels)]
    return main(["picai", "evaluate", *paths, "--jobs", "1", "--bootstrap", "50", *arguments])


def evaluate(folders: tuple[Path, Path], *arguments: str) -> tuple[int, dict]:
    """Run the command; returns its exit status and evaluation.json."""
    status = run(folders, *arguments)
    return status, json.loads((folders[0] / "picai_evaluation" / "evaluation.json").read_text())


def test_nnunets_probabilities_are_scored_for_detection_and_its_mask_for_overlap(folders, capsys) -> None:
    status, found = evaluate(folders)
    assert status == 0
    assert found["detection"]["auroc"]["value"] == pytest.approx(0.5)
    assert found["overlap"]["dice"]["value"] == pytest.approx(0.5)
    assert found["overlap"]["dice"]["cases"] == 2
    hd95 = found["overlap"]["hd95"]
    assert (hd95["value"], hd95["low"], hd95["high"], hd95["cases"]) == (0, 0, 0, 1)
    assert 20 < hd95["valid_replicates"] < 50, "the hit is not in every replicate"
    text = capsys.readouterr().out
    for phrase in ("empty masks: positives-only: cases without a reference lesion do not count", "HD95: exclude",
                   "3 cases, 2 with csPCa, 2 lesions", "lesion sensitivity at 0.5 FP/case",
                   "percentile bootstrap over patients, 50 replicates"):  # fmt: skip
        assert phrase in text


def test_the_papers_convention_is_available_by_name(folders, capsys) -> None:
    _, found = evaluate(folders, "--empty", "paper")
    assert found["overlap"]["dice"]["value"] == pytest.approx(1 / 3)
    assert found["overlap"]["dice"]["cases"] == 3
    text = capsys.readouterr().out
    assert "empty masks: paper: an empty prediction on a case without a reference lesion counts as 1" in text
    assert found["conventions"]["empty_masks"]["name"] == "paper"


def test_the_diagonal_can_stand_for_a_missed_lesion(folders) -> None:
    _, found = evaluate(folders, "--missed-hd95", "diagonal")
    assert found["overlap"]["hd95"]["cases"] == 2
    assert found["overlap"]["hd95"]["value"] == pytest.approx(math.hypot(18, 12, 12) / 2)


def test_the_files_are_complete_and_picai_eval_reads_its_own_back(folders) -> None:
    evaluate(folders)
    output = folders[0] / "picai_evaluation"
    with (output / "per_case.csv").open(newline="") as handle:
        rows = {row["case"]: row for row in csv.DictReader(handle)}
    assert float(rows["1_1"]["dice"]) == 1
    assert float(rows["1_1"]["reference_ml"]) == pytest.approx(72 * 0.75 / 1000)
    assert rows["3_1"]["dice"] == "", "does not count"
    assert float(rows["3_1"]["score"]) == pytest.approx(0.6)
    with (output / "candidates.csv").open(newline="") as handle:
        found = [(row["case"], row["is_lesion"]) for row in csv.DictReader(handle)]
    assert found == [("1_1", "1"), ("2_1", "1"), ("3_1", "0")]
    metrics = require("picai_eval").Metrics(str(output / "picai_eval_metrics.json"))
    assert metrics.num_lesions == 2
    assert "AUROC" in (output / "evaluation.txt").read_text()
    with (output / "evaluation.csv").open(newline="") as handle:
        metrics = {row["metric"]: row for row in csv.DictReader(handle)}
    assert (metrics["dice"]["value"], metrics["dice"]["cases"]) == ("0.5", "2")
    assert float(metrics["auroc"]["low"]) <= 0.5 <= float(metrics["auroc"]["high"])


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha"])
def test_probability_maps_and_detection_maps_are_told_apart(tmp_path: Path, suffix: str) -> None:
    softmax_file = save(tmp_path / f"a{suffix}", probability(0.7))
    detection = np.zeros(SHAPE, dtype=np.float32)
    detection[LESION] = 0.7
    detection[0, 0, 0] = 0.3
    detection_file = save(tmp_path / f"b_detection_map{suffix}", detection)
    mask_file = save(tmp_path / f"c{suffix}", (detection > 0).astype(np.uint8))
    found = find_predictions(tmp_path)
    assert found == {"a": Files(image=softmax_file), "b": Files(image=detection_file), "c": Files(image=mask_file)}
    kinds = [read_prediction(f, PICAI_TARGET).kind for f in found.values()]
    assert kinds == [Kind.PROBABILITY_MAP, Kind.DETECTION_MAP, Kind.MASK]
    assert read_prediction(found["a"], PICAI_TARGET).mask.sum() == 72


def test_all_forms_of_one_prediction_give_the_same_scores(folders) -> None:
    from nnunetv2_textguided.evaluation.detection import extract_candidates

    predictions, labels = folders
    _, by_npz = evaluate(folders)
    other = predictions.parent / "maps"
    for path in predictions.glob("*.npz"):
        values = np.load(path)["probabilities"][1]
        save(other / f"{path.stem}_detection_map.mha", extract_candidates(values))
    _, by_map = evaluate((other, labels))
    assert by_map["detection"] == by_npz["detection"]


def test_zones_score_cspca_by_the_data_sets_own_labels(tmp_path: Path) -> None:
    labels, predictions = tmp_path / "labelsTr", tmp_path / "predictions"
    names = {"background": 0, "peripheral zone": 1, "transition zone": 2, "csPCa": 3}
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": names}))
    predictions.mkdir()
    for case in ("1_1", "2_1"):
        values = np.ones(SHAPE, dtype=np.uint8)
        if case == "1_1":
            values[LESION] = 3
        save(labels / f"{case}.nii.gz", values)
        target = probability(0.9 if case == "1_1" else 0.001)
        np.savez_compressed(predictions / f"{case}.npz", probabilities=softmax(target, channel=3, channels=4))
    status, found = evaluate((predictions, labels))
    assert status == 0
    assert found["target"] == {"name": "csPCa", "values": [3]}
    assert found["detection"]["auroc"]["value"] == 1
    assert (found["overlap"]["dice"]["value"], found["overlap"]["dice"]["cases"]) == (1, 1)


def test_regions_are_thresholded_and_classes_compete(tmp_path: Path) -> None:
    probabilities = np.zeros((3, *SHAPE), dtype=np.float32)
    probabilities[0] = 0.9
    probabilities[1][LESION] = 0.6
    path = tmp_path / "1_1.npz"
    np.savez_compressed(path, probabilities=probabilities[:2])
    region = read_prediction(Files(path), Target("csPCa", frozenset({2}), 1, regions=True))
    assert region.mask.sum() == 72
    probabilities /= probabilities.sum(axis=0)
    np.savez_compressed(path, probabilities=probabilities)
    classes = read_prediction(Files(path), Target("csPCa", frozenset({1}), 1))
    assert classes.mask.sum() == 0


def test_picai_labels_own_masks_with_isup_grades_can_be_the_reference(folders) -> None:
    predictions, labels = folders
    for path in labels.iterdir():
        graded = sitk.ReadImage(str(path)) * 4
        graded.SetDirection((1, 2e-4, 0, -2e-4, 1, 0, 0, 0, 1))
        sitk.WriteImage(graded, str(path))
    _, found = evaluate((predictions, labels))
    assert found["overlap"]["dice"]["value"] == pytest.approx(0.5)


def damaged(path: Path) -> str:
    path.write_bytes(path.read_bytes()[:-40])
    return "truncated or damaged"


def logits(path: Path) -> str:
    np.savez_compressed(path, probabilities=softmax(probability(0.5)) - 0.6)
    return "not logits"


def positive_logits(path: Path) -> str:
    np.savez_compressed(path, probabilities=softmax(probability(0.5)) * 7)
    return "to 6.993"


def not_adding_up(path: Path) -> str:
    np.savez_compressed(path, probabilities=np.stack([probability(0.5), probability(0.5)]))
    return "add up to"


def not_a_number(path: Path) -> str:
    values = softmax(probability(0.5))
    values[0, 0, 0, 0] = np.nan  # not in the target's channel
    np.savez_compressed(path, probabilities=values)
    return "values from nan to nan"


def one_channel(path: Path) -> str:
    np.savez_compressed(path, probabilities=softmax(probability(0.5))[:1])
    return "'csPCa' is channel 1"


def other_shape(path: Path) -> str:
    np.savez_compressed(path, probabilities=softmax(probability(0.5))[..., :-1])
    return "the mask beside them"


def not_probabilities(path: Path) -> str:
    np.savez_compressed(path, features=np.zeros(3))
    return "does not hold nnU-Net's probabilities"


def pickled(path: Path) -> str:
    np.savez_compressed(path, probabilities=np.array([{"a": 1}], dtype=object))
    return "truncated or damaged"


@pytest.mark.parametrize(
    "damage",
    [
        damaged,
        logits,
        positive_logits,
        not_adding_up,
        not_a_number,
        one_channel,
        other_shape,
        not_probabilities,
        pickled,
    ],
)
def test_a_damaged_prediction_is_named_and_the_others_are_scored(folders, capsys, damage) -> None:
    message = damage(folders[0] / "3_1.npz")
    status, found = evaluate(folders)
    text = capsys.readouterr()
    assert status == 1
    assert message in text.err
    assert "3_1.npz" in text.err
    assert "ATTENTION: 1 cases could not be scored" in text.out
    assert found["cases"] == 2


def test_a_prediction_on_another_grid_is_refused(folders, capsys) -> None:
    save(folders[0] / "1_1.nii.gz", np.zeros(SHAPE, dtype=np.uint8), spacing=(0.6, 0.5, 3.0))
    assert evaluate(folders)[0] == 1
    assert "on different grids" in capsys.readouterr().err


def test_missing_predictions_are_said_and_fail_where_a_fold_is_asked_for(folders, capsys) -> None:
    predictions, labels = folders
    (predictions / "2_1.npz").unlink()
    (predictions / "2_1.nii.gz").unlink()
    assert evaluate(folders)[0] == 0
    assert "ATTENTION: 1 labels have no prediction" in capsys.readouterr().out
    splits = [{"train": ["3_1"], "val": ["1_1", "2_1"]}, {"train": ["1_1"], "val": ["3_1"]}]
    (labels.parent / "splits_final.json").write_text(json.dumps(splits))
    status, found = evaluate(folders, "--fold", "0")
    assert (status, found["cases"], found["without_prediction"]) == (1, 1, ["2_1"])
    assert evaluate(folders, "--fold", "1")[0] == 0


def test_one_sided_sets_have_no_auroc_and_say_so(folders, capsys) -> None:
    for path in folders[0].glob("3_1.*"):
        path.unlink()
    _, found = evaluate(folders)
    assert found["detection"]["auroc"]["value"] is None
    assert "AUROC is undefined" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda p, _: [f.unlink() for f in p.iterdir()], "holds no .npz"),
        (lambda p, _: save(p / "9_9.nii.gz", np.zeros(SHAPE, np.uint8)), "have no label, for example 9_9"),
        (lambda p, _: save(p / "1_1.mha", np.zeros(SHAPE, np.uint8)), "has two predictions"),
        (lambda _, labels: [f.unlink() for f in labels.iterdir()], "holds no label"),
    ],
)
def test_folders_that_do_not_match_are_refused(folders, capsys, break_it, message: str) -> None:
    break_it(*folders)
    assert run(folders) == 1
    assert message in capsys.readouterr().err
    assert not (folders[0] / "picai_evaluation").exists()


def test_the_patient_column_decides_what_is_drawn_together(folders) -> None:
    (folders[1].parent / "cases.csv").write_text("case,patient\n1_1,A\n2_1,A\n3_1,B\n")
    # One patient has both lesions: recall is (1 + 0) / 2 in every replicate that draws A.
    _, found = evaluate(folders)
    assert (found["overlap"]["recall"]["low"], found["overlap"]["recall"]["high"]) == (0.5, 0.5)
    with (folders[0] / "picai_evaluation" / "per_case.csv").open(newline="") as handle:
        assert {row["case"]: row["patient"] for row in csv.DictReader(handle)} == {"1_1": "A", "2_1": "A", "3_1": "B"}


def test_a_missing_extra_names_the_way_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from nnunetv2_textguided.errors import TextGuidedError

    monkeypatch.setitem(sys.modules, "cc3d", None)
    with pytest.raises(TextGuidedError) as caught:
        require("cc3d")
    assert caught.value.remedy == 'pip install "nnunetv2-textguided[picai]"'
    assert "connected-components-3d" in str(caught.value)


@pytest.mark.parametrize("extraction", ["1.5", "best", "0"])
def test_an_extraction_that_does_not_exist_is_an_error(folders, capsys, extraction: str) -> None:
    assert run(folders, "--extraction", extraction) == 1
    assert "is no lesion extraction" in capsys.readouterr().err


def test_a_fixed_threshold_drops_what_is_below_it(folders) -> None:
    _, found = evaluate(folders, "--extraction", "0.7")
    assert found["detection"]["auroc"]["value"] == pytest.approx(0.75)  # the false alarm of 0.6 is gone


def test_a_case_that_nobody_outlined_is_no_negative(folders, capsys) -> None:
    predictions, labels = folders
    (labels.parent / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "csPCa": 1, "ignore": 2}}))
    save(labels / "4_1.nii.gz", np.full(SHAPE, 2, dtype=np.uint8))
    np.savez_compressed(predictions / "4_1.npz", probabilities=softmax(probability(0.9)))
    before = evaluate(folders)[1]["detection"]["auroc"]["cases"]
    assert run(folders) == 1
    told = capsys.readouterr()
    assert "FAILED 4_1: Case 4_1 has no reference" in told.err
    assert "3 cases, 2 with csPCa, 2 lesions" in told.out
    assert before == 3
