"""`picai benchmark` on the two real studies of the archive that tests may find beside the repository."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nnunetv2_textguided.cli import main
from nnunetv2_textguided.nnunet.fingerprint import extract_fingerprint
from tests.datasets import Workspace

DATASET = "Dataset2203_PICAI"
SMALL = "--spacing 3 1.5 1.5 --matrix-size 12 48 48 --crop-centre gland"


def words(archive: Path, labels: Path, *more: str) -> list[str]:
    return ["picai", "benchmark", "--images", str(archive), "--labels", str(labels), *more]


class Real(Workspace):
    """The command on the two real studies, small, with a fingerprint of few voxels."""

    def __init__(self, root: Path, shared: Path, patch: pytest.MonkeyPatch) -> None:
        super().__init__(root)
        for name, value in self.environment.items():
            patch.setenv(name, value)
        patch.setenv("nnUNet_compile", "f")
        archive = shared / "data" / "picai_real"
        preset = root / "tiny.json"
        training = {"epochs": 3, "iterations_per_epoch": 1, "val_iterations_per_epoch": 1, "save_every": 1}
        preset.write_text(json.dumps({"training": training}))
        options = ["--options", f"prepare={SMALL}", f"plan=--preset {preset}"]
        where = ["--processes", "1", "--device", "cpu", "--jobs", "1", "--folds", "0"]
        self.words = words(archive / "images", archive / "picai_labels", *options, *where)

    def begin(self, *more: str) -> None:
        """Everything before the plans: nnU-Net's own fingerprint draws 10^8 voxels of however few cases."""
        assert main([*self.words, *more, "--until", "prepare"]) == 0
        extract_fingerprint(2203, 1e4)

    def files(self) -> dict[str, int]:
        """Times of all files of data, by path."""
        found = (path for part in ("raw", "preprocessed") for path in (self.root / part).rglob("*") if path.is_file())
        return {str(path): path.stat().st_mtime_ns for path in found if ".lock" not in path.name}
