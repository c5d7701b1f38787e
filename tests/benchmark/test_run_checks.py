"""Before anything is trained: what does not exist is refused, and what the comparison is worth is said."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from nnunetv2_textguided.benchmark.describe import describe_study
from nnunetv2_textguided.benchmark.progress import Progress
from nnunetv2_textguided.benchmark.record import Recorder
from nnunetv2_textguided.benchmark.repeats import write_repeats
from nnunetv2_textguided.benchmark.states import State, Status
from nnunetv2_textguided.benchmark.study import Cell, Study, Variant
from nnunetv2_textguided.cli import main
from nnunetv2_textguided.errors import DataError
from tests.inference.models import plans
from tests.inference.test_executing_models import Execute

DATASET = "Dataset902_Tiny"
OURS = "nnUNetTrainerAlignRefine_1epoch"


@pytest.fixture
def prepared(nnunet_folders: Path) -> Path:
    """A preprocessed data set, as far as anybody looks before training."""
    folder = nnunet_folders / "preprocessed" / DATASET
    (folder / "tiny").mkdir(parents=True)
    (folder / "gt_segmentations").mkdir()
    content = plans()
    (folder / "nnUNetPlans.json").write_text(json.dumps(content))
    larger = json.loads(json.dumps(content))
    larger["configurations"]["3d_fullres"]["batch_size"] = 4
    (folder / "nnUNetLargePlans.json").write_text(json.dumps({**larger, "plans_name": "nnUNetLargePlans"}))
    labels = {"background": 0, "csPCa": 1}
    description = {"channel_names": {"0": "T2W", "1": "ADC", "2": "HBV"}, "labels": labels, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps({**description, "numTraining": 4}))
    cases = [f"case_{i}" for i in range(4)]
    splits = [{"train": cases[2:], "val": cases[:2]}, {"train": cases[:2], "val": cases[2:]}]
    (folder / "splits_final.json").write_text(json.dumps(splits))
    for case in cases:
        (folder / "tiny" / f"{case}.pkl").touch()
    return folder


def words(*trainers: str, folds: str = "0 1", dataset: str = "902", configuration: str = "3d_fullres") -> list[str]:
    given = ["benchmark", "run", "-d", dataset, "-c", configuration, "--folds", *folds.split(), "--trainers", *trainers]
    return [*given, "--device", "cpu", "--dry-run"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (words("nnUNetTrainerAlignRefin"), "Did you mean nnUNetTrainerAlignRefine"),
        (words("nnUNetTrainer_1epochs"), "nnUNetTrainer_1epoch"),
        (words(OURS, folds="0 2"), "There is no fold 2: the data set has folds 0 to 1."),
        (words(OURS, configuration="3d_fulres"), "Did you mean 3d_fullres?"),
        ([*words(OURS), "--plans", "nnUNetPlan"], "Did you mean nnUNetPlans"),
        (words(OURS, dataset="903"), "There is no data set 903."),
        ([*words(OURS), "--jobs", "0"], "where: --jobs\n  what to do: A whole number: at least 1."),
        ([*words(OURS), "--repeats", "0"], "where: --repeats\n  what to do: A whole number: at least 1."),
        (words("nnUNetTrainerBenchmark_5epochs", folds="1"), "Stick with 0"),
    ],
)
def test_what_does_not_exist_is_refused(
    prepared: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    assert told in capsys.readouterr().err
    assert not list((prepared.parents[1] / "results").iterdir())


def test_fold_all_is_refused_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(OURS, folds="all")) == 1
    assert "has no validation cases, so there is nothing to compare" in capsys.readouterr().err


def test_repeats_have_plans_of_their_own_and_share_the_data(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def printed() -> list[str]:
        assert main([*words(OURS, folds="0"), "--repeats", "2"]) == 0
        return [line for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]

    copying, *commands = printed()
    assert [line.split(" -p ")[1].split()[0] for line in commands] == ["nnUNetPlans", "nnUNetPlans_repeat2"]
    # What is printed can be pasted: the repeat's plans, then the trainings.
    subprocess.run(copying, shell=True, check=True)
    assert printed() == commands
    study = Study(DATASET, "3d_fullres", (OURS,), folds=(0,), repeats=2)
    write_repeats(study)
    write_repeats(study)
    copy = json.loads((prepared / "nnUNetPlans_repeat2.json").read_text())
    original = json.loads((prepared / "nnUNetPlans.json").read_text())
    assert copy == {**original, "plans_name": "nnUNetPlans_repeat2"}
    assert copy["configurations"]["3d_fullres"]["data_identifier"] == "tiny"
    (prepared / "nnUNetPlans.json").write_text(json.dumps({**original, "plans_name": "nnUNetPlans", "changed": 1}))
    with pytest.raises(DataError, match="not a copy"):
        write_repeats(study)


def test_notes_name_the_device_that_was_asked_for(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = prepared.parents[1] / "results" / DATASET / f"{OURS}__nnUNetPlans__3d_fullres" / "fold_0" / "validation"
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text("{}")
    assert main(words(OURS)) == 0
    printed = capsys.readouterr().out
    assert "--npz --val" in printed
    assert "-device cuda" not in printed


def test_missing_data_are_told_before_a_training_stumbles(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (prepared / "tiny" / "case_3.pkl").unlink()
    assert main(words(OURS)) == 1
    error = capsys.readouterr().err
    assert "1 of 4 cases are not preprocessed: case_3." in error
    assert "nnUNetv2_preprocess -d Dataset902_Tiny -plans_name nnUNetPlans -c 3d_fullres" in error
    shutil.rmtree(prepared / "tiny")
    assert main(words(OURS)) == 1
    assert "There are no preprocessed data." in capsys.readouterr().err
    (prepared / "splits_final.json").write_text("{}")
    assert main(words(OURS)) == 1
    assert "The file does not hold folds" in capsys.readouterr().err


def test_a_dry_run_prints_nnunets_commands_and_what_differs(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = prepared.parents[1] / "results"
    more = ["--plans", "nnUNetPlans", "nnUNetLargePlans"]
    assert main([*words("nnUNetTrainer_1epoch", OURS, folds="0"), *more]) == 0
    lines = capsys.readouterr().out.splitlines()
    end = "-p nnUNetPlans -device cpu --npz"
    assert f"nnUNetv2_train {DATASET} 3d_fullres 0 -tr {OURS} {end}" in lines
    # Nothing but comments and commands: a shell script, for any scheduler.
    assert sum(line.startswith("nnUNetv2_train") for line in lines) == 4
    assert all(line.startswith(("#", "nnUNetv2_train")) for line in lines)
    text = "\n".join(lines)
    assert "the same for all (splits_final.json, sha256 " in text
    assert "DIFFERS: plans: nnUNetPlans, nnUNetLargePlans" in text
    assert "DIFFERS: batch size: nnUNetTrainer_1epoch (nnUNetPlans) 2" in text
    assert not list(results.iterdir()), "nothing is written"


@pytest.mark.parametrize("name", ["checkpoint_final.pth", "checkpoint_latest.pth", "checkpoint_best.pth"])
@pytest.mark.parametrize("dry", [True, False], ids=["dry", "run"])
@pytest.mark.parametrize("trainer", ["nnUNetTrainer", OURS])
def test_a_training_is_not_continued_from_a_file_that_executes(
    prepared: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, dry: bool, trainer: str
) -> None:
    folder = prepared.parents[1] / "results" / DATASET / f"{trainer}__nnUNetPlans__3d_fullres" / "fold_0"
    folder.mkdir(parents=True)
    torch.save({"network_weights": {}, "note": Execute(tmp_path / "EXECUTED")}, folder / name)
    assert main(words(trainer)[: None if dry else -1]) == 1
    said = capsys.readouterr().err
    assert "system: reading it, as nnU-Net does, could execute code" in said
    assert str(folder / name) in said
    assert not (tmp_path / "EXECUTED").exists()


def test_folds_that_were_trained_otherwise_are_noted(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = Study(DATASET, "3d_fullres", (OURS,), folds=(0, 1))
    facts = describe_study(study)
    (variant,) = study.variants
    for cell in study.cells():
        folder = cell.folder(prepared.parents[1] / "results", DATASET)
        folder.mkdir(parents=True)
        Recorder(folder, cell, DATASET, facts[variant], ("case_0",)).adopt(Progress())
    assert main(words(OURS)) == 0
    assert "NOTE" not in capsys.readouterr().out
    plans_file = prepared / "nnUNetPlans.json"
    content = json.loads(plans_file.read_text())
    content["configurations"]["3d_fullres"]["batch_size"] = 3
    plans_file.write_text(json.dumps(content))
    assert main(words(OURS)) == 0
    assert f"# NOTE: {variant.name}, fold 0, 1: trained with other settings" in capsys.readouterr().out


def test_facts_are_those_of_the_trainers(prepared: Path) -> None:
    study = Study(DATASET, "3d_fullres", ("nnUNetTrainer", OURS), ("nnUNetPlans", "nnUNetLargePlans"), (0,))
    facts = describe_study(study)
    stock = facts[Variant("nnUNetTrainer", "nnUNetPlans", "3d_fullres")]
    large = facts[Variant("nnUNetTrainer", "nnUNetLargePlans", "3d_fullres")]
    ours = facts[Variant(OURS, "nnUNetPlans", "3d_fullres")]
    assert (stock.epochs, stock.iterations_per_epoch, ours.epochs) == (1000, 250, 1)
    assert stock.embeddings is None
    assert ours.embeddings is not None
    assert len(ours.embeddings["file_sha256"]) == 64
    assert ours.parameters > stock.parameters > 0  # type: ignore[operator]
    assert large.flops_per_patch == stock.flops_per_patch
    assert large.training_flops == 2 * stock.training_flops  # type: ignore[operator]
    assert stock.splits_sha256 == ours.splits_sha256
    assert stock.configuration_sha256 != ours.configuration_sha256
    # By hand: the stock network's first convolution alone, three channels to six features, 3 x 3 x 3.
    assert stock.flops_per_patch > 2 * 3 * 6 * 27 * 8 * 32 * 32  # type: ignore[operator]


def test_models_are_chosen_one_by_one(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = ["nnUNetTrainer__nnUNetLargePlans", f"{OURS}__nnUNetPlans"]
    given = ["benchmark", "run", "-d", "902", "--folds", "0", "--device", "cpu", "--dry-run", "--models"]
    assert main([*given, *models]) == 0
    said = capsys.readouterr().out
    trained = [line.split() for line in said.splitlines() if line.startswith("nnUNetv2_train")]
    assert [(line[5], line[7]) for line in trained] == [tuple(model.split("__")) for model in models]
    assert main([*given, "nnUNetTrainer"]) == 1
    assert "'nnUNetTrainer' is no model.\n  where: --models" in capsys.readouterr().err


def test_without_folds_nnunet_makes_them_once(prepared: Path) -> None:
    (prepared / "splits_final.json").unlink()
    for case in range(4, 10):
        (prepared / "tiny" / f"case_{case}.pkl").touch()
    for case in range(10):
        (prepared / "tiny" / f"case_{case}.b2nd").touch()
    describe_study(Study(DATASET, "3d_fullres", (OURS,), folds=(0,)))
    assert len(json.loads((prepared / "splits_final.json").read_text())) == 5


STUDY = Study(DATASET, "3d_fullres", ("A", "B"), folds=(0, 1))


def statuses() -> dict[Cell, Status]:
    found = {cell: Status() for cell in STUDY.cells()}
    first, second, *_ = found
    found[first] = Status(State.RUNNING, "epoch 3/10, EMA Dice 0.412")
    found[second] = Status(State.FAILED, "failed: exit status 1: ValueError: [1, 2]")
    return found


def test_the_live_table_shows_every_training() -> None:
    rich = pytest.importorskip("rich.console")
    from nnunetv2_textguided.benchmark.display import LiveTable, make_display

    stream = io.StringIO()
    console = rich.Console(file=stream, force_terminal=True, width=140)
    with LiveTable(STUDY, console) as live:
        live.update(statuses())
    shown = stream.getvalue()
    for text in ("fold 1", "epoch 3/10, EMA Dice 0.412", "ValueError: [1, 2]", "2 waiting, 1 running, 1 failed"):
        assert text in shown
    assert not isinstance(make_display(STUDY, stream), LiveTable)


def test_without_a_terminal_only_news_are_printed() -> None:
    pytest.importorskip("rich")
    from nnunetv2_textguided.benchmark.display import Lines

    stream, found = io.StringIO(), statuses()
    lines = Lines(STUDY, stream)
    lines.update(found)
    lines.update(found)
    first = next(iter(found))
    found[first].text = "epoch 4/10, EMA Dice 0.413"  # too soon after the last
    lines.update(found)
    found[first] = Status(State.DONE, "done, Dice 0.500")
    lines.update(found)
    printed = [line.split(" ", 1)[1] for line in stream.getvalue().splitlines()]
    assert printed == [
        "A fold 0: epoch 3/10, EMA Dice 0.412",
        "B fold 0: failed: exit status 1: ValueError: [1, 2]",
        "A fold 0: done, Dice 0.500",
    ]
