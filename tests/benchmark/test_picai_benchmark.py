"""`picai benchmark`: what it would do and what that costs; on the two real studies it is killed and goes on."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from nnunetv2_textguided.benchmark.archive import STEPS
from nnunetv2_textguided.benchmark.facts import ModelFacts
from nnunetv2_textguided.benchmark.fairness import amount
from nnunetv2_textguided.benchmark.price import A100_TFLOPS, describe_rows, measured_tflops, price_table
from nnunetv2_textguided.benchmark.rows import PLANS, ROWS, choose_rows, write_row_plans
from nnunetv2_textguided.cli import main
from nnunetv2_textguided.commands.parser import PROGRAM, build_parser
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import visible
from nnunetv2_textguided.planning.encoders import COST_LIMIT
from nnunetv2_textguided.planning.run import plan_dataset
from tests.benchmark.processes import wait_for
from tests.benchmark.real_archive import DATASET, Real, words
from tests.conftest import REPOSITORY
from tests.picai.archive_builder import CASES, Builder
from tests.planning.conftest import describe

pytest.importorskip("picai_prep", reason="needs the extra picai")


@pytest.fixture
def archive(tmp_path: Path) -> Builder:
    builder = Builder(tmp_path / "archive")
    builder.study(CASES[0], cspca=True)
    builder.marksheet({CASES[0]: True})
    return builder


# ---------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--rows", "stok"], "There is no row 'stok'.\n  where: --rows\n  what to do: Choose of default, no_text"),
        (["--until", "training"], "There is no step 'training'.\n  where: --until\n  what to do: Choose of prepare"),
        (["--until", "encode"], "There is no step 'encode'"),
        (["--options", "plans=--gpu-memory 24"], "There is no step 'plans'.\n  where: --options"),
        (["--options=--gpu-memory"], "'--gpu-memory' names no step"),
        (["--tflops", "0"], "--tflops"),
    ],
)
def test_mistakes_are_explained(
    archive: Builder, nnunet_folders: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert main(words(archive.images, archive.labels, *more, "--dry-run")) == 1
    assert message in capsys.readouterr().err


def test_a_missing_archive_marksheet_and_folder_are_explained(
    archive: Builder, nnunet_folders: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(words(archive.root / "nowhere", archive.labels)) == 1
    assert "The image folder does not exist." in capsys.readouterr().err
    (archive.labels / "clinical_information" / "marksheet.csv").unlink()
    assert main(words(archive.images, archive.labels)) == 1
    error = capsys.readouterr().err
    assert "marksheet.csv" in error
    assert "what to do" in error
    monkeypatch.delenv("nnUNet_preprocessed")
    assert main(words(archive.images, archive.labels)) == 1
    assert "nnUNet_preprocessed is not set" in capsys.readouterr().err
    assert not any(map(visible, (nnunet_folders / part for part in ("raw", "preprocessed", "results"))))


def test_a_step_is_not_done_with_other_options_than_before(
    archive: Builder, nnunet_folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = words(archive.images, archive.labels, "--until", "prepare", "--processes", "1")
    assert main([*run, "--options", "prepare=--adc zscore"]) == 0
    case = nnunet_folders / "raw" / DATASET / "imagesTr" / f"{CASES[0]}_0000.nii.gz"
    before = case.stat().st_mtime_ns
    assert main([*run, "--options", "prepare=--adc zscore"]) == 0
    assert "prepare: done" in capsys.readouterr().out
    assert case.stat().st_mtime_ns == before
    assert main(run) == 1
    assert "The step prepare was done with the options --adc zscore, not with (none)." in capsys.readouterr().err
    archive.study(CASES[1], cspca=False)
    archive.marksheet({CASES[0]: True, CASES[1]: False})
    assert main([*run, "--options", "prepare=--adc zscore"]) == 0, "the archive grew"
    assert "prepare: $" in capsys.readouterr().out
    assert case.stat().st_mtime_ns == before
    assert (case.parent / f"{CASES[1]}_0000.nii.gz").is_file()


# ---------------------------------------------------------------------------- what it costs


@pytest.fixture(scope="module")
def facts() -> dict[str, ModelFacts]:
    """Of every row, for PI-CAI's 1500 studies, of which nothing is here."""
    return describe_rows(ROWS, PLANS, DATASET, None, lambda: plan_dataset(DATASET))


@pytest.mark.slow
def test_rows_share_patch_data_and_iterations_and_cost_what_they_promise(facts: dict[str, ModelFacts]) -> None:
    for shared in ("patch_size", "batch_size", "epochs", "iterations_per_epoch"):
        assert len({getattr(f, shared) for f in facts.values()}) == 1
    assert facts["default"].patch_size == (14, 256, 224)
    cost = {name: f.training_flops or 0.0 for name, f in facts.items()}
    assert cost["stock_wide"] == pytest.approx(cost["default"], rel=0.05)
    for row in ("narrow", "shared"):
        assert cost["stock"] < cost[row] <= COST_LIMIT * 1.02 * cost["stock"]
    for row in ("refiner_off", "random_text", "shuffled_text", "learned_text", "channel_dropout"):
        assert cost[row] == cost["default"]
    assert facts["no_text"].embeddings is None
    assert facts["random_text"].embeddings is not None


@pytest.mark.slow
def test_the_page_has_the_table(facts: dict[str, ModelFacts]) -> None:
    page = (REPOSITORY / "docs" / "reproduce.md").read_text(encoding="utf-8")
    for row in ROWS:
        f, model = facts[row.name], row.model(PLANS)
        flops = 0 if row.networks else f.training_flops or 0
        hours = f"{5 * flops / (A100_TFLOPS * 1e12 * 3600):.1f}"
        cells = (f"`{row.name}`", row.title, f"`{model.trainer}`", f"`{model.plans}`")
        line = " | ".join((*cells, amount(f.parameters), amount(f.flops_per_step), hours))
        assert f"| {line} |" in page


@pytest.mark.slow
def test_the_assumed_speed_follows_from_nnunet_s_epoch_time(nnunet_folders: Path) -> None:
    describe(nnunet_folders, "Dataset005_Prostate", 32, 2, [[20, 320, 320]] * 32, [[3.6, 0.625, 0.625]] * 32)
    stock = plan_dataset(5).decisions["3d_fullres"].stock
    assert [int(n) for n in stock.plan["patch_size"]] == [20, 320, 256]
    operations = 250 * stock.plan["batch_size"] * 3 * stock.cost.flops_per_patch
    assert operations / 47.19 / 1e12 == pytest.approx(A100_TFLOPS, rel=0.01)


def test_the_sum_counts_what_is_left_and_the_speed_is_measured(tmp_path: Path) -> None:
    one = ModelFacts(10, 250, 50, 2, (8, 8, 8), 1_000_000, 6e12 / 6, None, "", "", "", None)
    rows = choose_rows(["no_text", "default"])
    assert [row.name for row in rows] == ["default", "no_text"]
    lines = list(price_table(rows, {row.name: one for row in rows}, 10, {"no_text": 4}, 10.0))
    hours = 10 * 2500 * 6e12 / 10e12 / 3600
    assert lines[1].split()[-3:] == ["10", "0", f"{hours:.1f}"]
    assert lines[-1] == f"sum: {2 * hours:.1f} GPU hours, of which {1.6 * hours:.1f} are left"
    (tmp_path / "fold_0").mkdir()
    record = {"flops_per_step": 6e12, "seconds_per_iteration": 0.5}
    (tmp_path / "fold_0" / "benchmark_record.json").write_text(json.dumps(record))
    networks = choose_rows(["default", "refiner_off"])
    lines = list(price_table(networks, {row.name: one for row in networks}, 10, {}, 10.0))
    assert lines[-1] == f"sum: {hours:.1f} GPU hours, of which {hours:.1f} are left", (
        "nothing is trained for the second"
    )
    assert measured_tflops([tmp_path / "fold_0", tmp_path / "fold_1"]) == [12.0]


# ---------------------------------------------------------------------------- the two real studies


@pytest.fixture
def real(tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> Real:
    return Real(tmp_path / "work", shared, monkeypatch)


@pytest.mark.slow
def test_the_dry_run_prints_commands_that_parse_and_writes_nothing(
    real: Real, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["--rows", "default", "refiner_off", "no_text"]
    assert main([*real.words, *rows, "--encoder", "minilm", "--sbatch", "partition=gpu", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("# ")][: len(STEPS)] == [f"# {step}: to do" for step in STEPS]
    commands = [shlex.split(line) for line in lines if line.startswith("nnUNetv2_")]
    assert len(commands) == len(STEPS)
    for command in commands:
        if command[0] == PROGRAM:
            build_parser((command[1],), command[1:]).parse_args(command[1:])
    assert commands[7][-6:] == ["--device", "cpu", "--jobs", "1", "--sbatch", "partition=gpu"]
    assert any("Planned for PI-CAI's 1500 studies" in line for line in lines)
    assert any(re.match(r"# default +the method +58\.9 M +4\.93 T +3 +1 +0 +0\.0$", line) for line in lines)
    assert not real.files()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_while_preprocessing_it_goes_on_and_does_nothing_twice(
    real: Real, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["--rows", "default", "no_text", "stock_wide", "narrow", "channel_dropout", "--until", "rows"]
    real.begin(*rows[:-2])
    process = real.start(PROGRAM, *real.words, *rows)
    log = real.root / "results" / DATASET / "picai_benchmark" / "preprocess.log"
    wait_for(lambda: log.is_file() or process.poll() is not None)
    assert process.poll() is None, real.log.read_text()
    before = real.files()
    real.kill(process)
    assert main([*real.words, *rows]) == 0
    printed = capsys.readouterr().out
    assert all(f"{step}: done" in printed for step in ("prepare", "fingerprint", "plan"))
    assert all(f"{step}: $ " in printed for step in ("preprocess", "anatomy", "rows"))
    after = real.files()
    unfinished = "nnUNetPlans_3d_fullres"
    assert {path: time for path, time in after.items() if path in before and unfinished not in path} == {
        path: time for path, time in before.items() if unfinished not in path
    }
    assert main([*real.words, *rows]) == 0
    assert "$" not in capsys.readouterr().out
    assert real.files() == after
    folder = real.root / "preprocessed" / DATASET
    block = json.loads((folder / f"{PLANS}_channel_dropout.json").read_text())["configurations"]["3d_fullres"]
    training = block["text_guidance"]["training"]
    assert (training["epochs"], training["channel_dropout"]) == (3, 0.25), "the method's settings, and the row's"
    base = json.loads((folder / f"{PLANS}.json").read_text())
    base["configurations"]["3d_fullres"]["batch_size"] = 3
    (folder / f"{PLANS}.json").write_text(json.dumps(base))
    with pytest.raises(DataError, match="not made of nnUNetAlignRefinePlans as it is now"):
        write_row_plans(ROWS, folder, PLANS)
