"""`nnUNetv2_textguided doctor`: passes only where everything works, and names cause and remedy where it does not."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from nnunetv2_textguided import cli
from nnunetv2_textguided.commands.doctor import discovery, environment, judge
from nnunetv2_textguided.commands.doctor.examine import examine
from nnunetv2_textguided.commands.doctor.probe import CHECKS
from nnunetv2_textguided.startup import OPT_OUT, VARIABLE
from nnunetv2_textguided.text import packaged
from tests.packaging.environment import Environment

MISMATCH = "raise RuntimeError('operator torchvision::nms does not exist')\n"


def fake_module(folder: Path, name: str, code: str) -> str:
    """A folder for PYTHONPATH in which module `name` does `code`."""
    (folder / f"{name}.py").write_text(code, encoding="utf-8")
    return str(folder)


def doctor(installed: Environment, **variables: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit status and findings by name."""
    done = installed.run("nnUNetv2_textguided", "doctor", "--json", **variables)
    report = json.loads(done.stdout)
    assert report["ok"] == (done.returncode == 0)
    return done.returncode, {check["name"]: check for check in report["checks"]}


@pytest.mark.slow
@pytest.mark.parametrize("installed", ["uv-wheel"], indirect=True)
def test_healthy_installation_passes_within_half_a_minute(installed: Environment) -> None:
    before = sum(os.times()[2:4])
    done = installed.run("nnUNetv2_textguided", "doctor")
    assert done.returncode == 0, done.stdout
    assert "This installation works." in done.stdout
    assert "FAILED" not in done.stdout
    assert all(name in done.stdout for name in CHECKS)
    # Processor time of the children: what other tests run at the same time must not count.
    assert sum(os.times()[2:4]) - before < 30


@pytest.mark.slow
@pytest.mark.parametrize("installed", ["uv-wheel"], indirect=True)
def test_broken_torchvision_is_told_with_its_own_traceback(installed: Environment, tmp_path: Path) -> None:
    status, findings = doctor(installed, PYTHONPATH=fake_module(tmp_path, "torchvision", MISMATCH))
    assert status == 1
    failed = [name for name, finding in findings.items() if not finding["ok"]]
    assert failed == ["torchvision", "stock lookup", "class identity", "pickling", "all trainers"]
    assert "operator torchvision::nms does not exist" in findings["torchvision"]["details"]
    assert "pytorch.org" in findings["torchvision"]["remedy"]
    assert "operator torchvision::nms does not exist" in findings["stock lookup"]["details"]


def test_a_check_that_kills_the_interpreter_is_told_and_the_others_still_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    crash = "import os, signal; print('last words', flush=True); os.kill(os.getpid(), signal.SIGSEGV)\n"
    folder = fake_module(tmp_path, "torch", crash)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([folder, str(repository)]))
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    findings = {name: finding for name, finding in examine(("torch", "nnUNet_raw")) if finding is not None}
    assert not findings["torch"].ok
    assert "SIGSEGV" in findings["torch"].message
    assert "last words" in findings["torch"].details
    assert findings["nnUNet_raw"].ok


@pytest.mark.parametrize("value", ['"{}"', "'{}'", "~/{}"])
def test_what_a_shell_would_have_taken_off_is_named(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("nnUNet_raw", value.format(tmp_path))
    found = environment.check_folder("nnUNet_raw")
    assert not found.ok
    assert "has become part of the value" in found.remedy
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "none"))
    assert "mkdir" in environment.check_folder("nnUNet_raw").remedy


def test_a_check_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    folder = fake_module(tmp_path, "torch", "import time; time.sleep(60)\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([folder, str(repository)]))
    steps = list(examine(("torch",), seconds=1.0))
    assert steps[0] == ("torch", None)
    assert steps[1][1] is not None
    assert not steps[1][1].ok


def test_a_report_that_nobody_reads_to_its_end_keeps_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(repository))
    report = examine(("nnUNet_raw", "nnUNet_results"))
    assert [next(report)[0] for _ in range(2)] == ["nnUNet_raw", "nnUNet_raw"]
    report.close()
    # Python does not end before such a thread, and this one has ten minutes.
    assert all(timer.finished.is_set() for timer in threading.enumerate() if isinstance(timer, threading.Timer))


FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


def test_folders_that_are_not_set_are_something_to_do_and_no_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], repository: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(repository))
    for folder in FOLDERS:
        monkeypatch.delenv(folder, raising=False)
    monkeypatch.setattr("nnunetv2_textguided.commands.doctor.examine.examine", lambda: examine(FOLDERS))
    assert cli.main(["doctor"]) == 1
    printed = capsys.readouterr().out
    assert "not set up yet" in printed
    assert "does not work" not in printed
    assert "FAILED" not in printed
    assert all(f'export {folder}="/path/to/{folder}"' in printed for folder in FOLDERS)
    assert [f" {n}/{len(CHECKS)} {folder}" in printed for n, folder in enumerate(FOLDERS, start=1)] == [True] * 3


def test_a_fault_beside_folders_that_are_not_set_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("nnUNet_raw", raising=False)
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "missing"))
    unset, wrong = environment.check_raw(), environment.check_results()
    assert (unset.pending, wrong.pending) == (True, False)
    assert judge([unset]) != judge([unset, wrong]) == judge([wrong]) == "This installation does not work."


def test_supported_versions_are_those_of_the_package_metadata(repository: Path) -> None:
    low, high = (".".join(map(str, version)) for version in environment.SUPPORTED_NNUNET)
    assert f'"nnunetv2>={low}.0,<{high}",' in (repository / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("version", "ok"), [("2.7.9", False), ("2.8.0", True), ("2.8.12.dev1", True), ("2.9.0", False)]
)
def test_nnunet_version(version: str, ok: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: version)
    finding = environment.check_nnunet_version()
    assert finding.ok == ok
    assert version in finding.message
    assert ok or finding.remedy.startswith("pip install 'nnunetv2>=")


def test_missing_nnunet(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> NoReturn:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert "not installed" in environment.check_nnunet_version().message


def test_a_gpu_that_torch_cannot_use_is_a_fault_and_none_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_old(*_: object, **__: object) -> NoReturn:
        raise RuntimeError("The NVIDIA driver on your system is too old")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch, "zeros", too_old)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(environment, "_has_nvidia_driver", lambda: False)
    assert environment.check_gpu().ok
    monkeypatch.setattr(environment, "_has_nvidia_driver", lambda: True)
    finding = environment.check_gpu()
    assert not finding.ok
    assert "too old" in finding.details
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # hidden on purpose
    assert environment.check_gpu().ok


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("nnUNet_results", raising=False)
    assert "not set" in environment.check_results().message
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "absent"))
    assert "mkdir" in environment.check_results().remedy
    monkeypatch.setenv("nnUNet_results", str(tmp_path))
    assert environment.check_results().ok
    assert list(tmp_path.iterdir()) == []


def test_only_raw_may_be_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(**_: object) -> NoReturn:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path))
    assert environment.check_raw().ok
    assert "read-only" in environment.check_raw().message
    assert "Read-only file system" in environment.check_preprocessed().details
    assert not environment.check_results().ok


def test_a_damaged_embedding_bank_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.check_embeddings().ok
    damaged = tmp_path / "minilm.safetensors"
    damaged.write_bytes(packaged.PACKAGED.read_bytes()[:-1])
    monkeypatch.setattr(packaged, "PACKAGED", damaged)
    packaged.packaged_embeddings.cache_clear()
    finding = environment.check_embeddings()
    assert not finding.ok
    assert "minilm.safetensors" in finding.message
    assert "Reinstall" in finding.remedy


def test_why_discovery_does_not_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(discovery, "shim_folder", lambda: str(tmp_path))
    monkeypatch.setenv(VARIABLE, os.pathsep.join(["/mine", str(tmp_path)]))
    monkeypatch.setenv(OPT_OUT, "1")
    assert discovery.check_registered().ok  # named by hand
    monkeypatch.setenv(VARIABLE, "/mine")
    assert OPT_OUT in discovery.check_registered().message
    monkeypatch.delenv(OPT_OUT)
    monkeypatch.setattr(discovery.site, "getsitepackages", lambda: [str(tmp_path)])
    monkeypatch.setattr(discovery.site, "getusersitepackages", lambda: str(tmp_path))
    assert "not installed by pip or uv" in discovery.check_registered().message
    (tmp_path / "nnunetv2_textguided.pth").touch()
    assert "did not run the start-up file" in discovery.check_registered().message
    monkeypatch.setattr(discovery, "shim_folder", lambda: None)
    assert "no folder of trainers" in discovery.check_registered().message


def test_another_class_of_the_same_name_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    class nnUNetTrainerAlignRefine:  # a copy that somebody left in nnU-Net's own folder
        pass

    monkeypatch.setattr(discovery, "stock_lookup", lambda name: nnUNetTrainerAlignRefine)
    finding = discovery.check_identity()
    assert not finding.ok
    assert "Remove copies" in finding.remedy
    assert not discovery.check_pickling().ok
