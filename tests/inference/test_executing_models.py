"""No command executes a pickle that lies where it looks for a model: refused by name, or left alone."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nnunetv2_textguided.cli import main
from nnunetv2_textguided.demo.model import load_model
from nnunetv2_textguided.demo.workspace import CONFIGURATION
from nnunetv2_textguided.errors import TextGuidedError
from nnunetv2_textguided.inference.grand_challenge import main as main_of_container
from tests.inference.models import Model
from tests.inference.test_grand_challenge import study, with_ball

REFUSED = "could execute code"
FOLDS = ("fold_0", "fold_1")


class Execute:
    """Unpickling it makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.target}",)


class Traps:
    """Model folder, images and references whose checkpoints hold more than data."""

    def __init__(self, root: Path, model: Path, labels: Path, images: Path) -> None:
        self.root, self.model, self.labels, self.images = root, model, labels, images
        self.marker, self.out = root / "EXECUTED", root / "out"
        for fold in FOLDS:
            path = model / fold / "checkpoint_final.pth"
            content = torch.load(path, weights_only=True)
            # After all that a model needs: whoever reads it whole executes it.
            torch.save({**content, "note": Execute(self.marker)}, path)

    @property
    def checkpoint(self) -> Path:
        return self.model / "fold_0" / "checkpoint_final.pth"

    def channels(self) -> list[str]:
        names = zip(("--t2w", "--adc", "--hbv"), sorted(self.images.glob("ball_0_*")), strict=True)
        return [word for flag, path in names for word in (flag, str(path))]

    def exported_zip(self) -> Path:
        target = self.root / "model.zip"
        with zipfile.ZipFile(target, "w") as archive:
            for path in self.model.rglob("*"):
                if path.suffix in (".pth", ".json") and "validation" not in path.parts:
                    archive.write(path, path.relative_to(self.model.parents[1]))
        return target


@pytest.fixture
def traps(validated: tuple[Path, Path, Path], images: Path, tmp_path: Path) -> Traps:
    folder, labels, _ = validated
    return Traps(tmp_path, folder, labels, images)


REFUSE: dict[str, Callable[[Traps], list[str]]] = {
    "predict": lambda t: ["predict", "-i", str(t.images), "-o", str(t.out), "-m", str(t.model), "-f", "0"],
    "predict, folds": lambda t: ["predict", "-i", str(t.images), "-o", str(t.out), "-m", str(t.model), "-f", "0", "1"],
    "predict-case": lambda t: ["predict-case", "-m", str(t.model), "-o", str(t.out), *t.channels()],
    "inspect, folder": lambda t: ["inspect", str(t.model)],
    "inspect, checkpoint": lambda t: ["inspect", str(t.checkpoint)],
    "inspect, ZIP": lambda t: ["inspect", str(t.exported_zip())],
    "prompts show": lambda t: ["prompts", "show", str(t.model)],
    "prompts validate": lambda t: ["prompts", "validate", str(t.checkpoint)],
    "threshold": lambda t: ["threshold", "-m", str(t.model), "--labels", str(t.labels), "--jobs", "1"],
    "likelihood": lambda t: ["likelihood", "-m", str(t.model), "--labels", str(t.labels), "--jobs", "1"],
    "export-model": lambda t: ["export-model", "-m", str(t.model), "-o", str(t.out), "--data-licence", "CC0"],
    "export-container, folder": lambda t: ["export-container", "--model", str(t.model), "-o", str(t.out)],
    "export-container, ZIP": lambda t: ["export-container", "--model", str(t.exported_zip()), "-o", str(t.out)],
}


@pytest.mark.parametrize("words", REFUSE.values(), ids=REFUSE)
def test_commands_that_read_checkpoints_refuse_those_that_execute(
    words: Callable[[Traps], list[str]], traps: Traps, capsys: pytest.CaptureFixture[str]
) -> None:
    given = words(traps)
    device = ["-device", "cpu"] if given[0].startswith("predict") else []
    assert main([*given, *device]) == 1
    said = capsys.readouterr()
    assert REFUSED in said.out + said.err
    assert "system" in said.out + said.err
    assert not traps.marker.exists()
    torch.load(traps.checkpoint, weights_only=False)
    assert traps.marker.exists(), "it would have been executed"


def test_the_container_refuses_its_model(
    traps: Traps, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL", str(traps.model))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    source = study(traps.root / "input", with_ball(6.0))
    assert main_of_container(source, traps.out) == 1
    assert REFUSED in capsys.readouterr().err
    assert not traps.marker.exists()
    assert not traps.out.exists()


def test_the_demo_refuses_what_replaced_its_checkpoint(traps: Traps) -> None:
    plans = json.loads((traps.model / "plans.json").read_text())
    plans["configurations"][CONFIGURATION] = plans["configurations"]["3d_fullres"]
    (traps.model / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(TextGuidedError, match=REFUSED):
        load_model(traps.model)
    assert not traps.marker.exists()


def test_an_installed_model_has_nothing_of_what_lay_beside_it(model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "Dataset902_Tiny" / "trainer__plans__3d_fullres"
    shutil.copytree(model.folder, folder)
    exported = tmp_path / "exported"
    assert main(["export-model", "-m", str(folder), "-o", str(exported), "--data-licence", "CC0"]) == 0
    for name in ("checkpoint_final.pth", "checkpoint_best.pth", "model.pkl"):
        torch.save({"note": Execute(tmp_path / "EXECUTED")}, exported / "fold_0" / name)
    assert main(["install-model", str(exported), "--results", str(tmp_path / "results")]) == 0
    (installed,) = (tmp_path / "results").glob("*/*/fold_0")
    assert [path.name for path in installed.glob("*.p*")] == ["checkpoint_final.pth"]
    torch.load(installed / "checkpoint_final.pth", weights_only=True)
    assert not (tmp_path / "EXECUTED").exists()
