"""Fixtures of the PI-CAI tests: synthetic studies, and the two real ones where they may be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnunetv2_textguided.picai.options import PrepareOptions
from nnunetv2_textguided.picai.plan import make_plan
from nnunetv2_textguided.picai.preparation import prepare_dataset
from nnunetv2_textguided.picai.summary import Summary

from .archive_builder import Builder, build_archive

pytest.importorskip("picai_prep", reason="needs the extra picai")


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    """Four studies of four patients: the first and the third have csPCa."""
    return build_archive(tmp_path / "archive")


@pytest.fixture
def prepare(builder: Builder, tmp_path: Path):
    """A function that prepares the builder's studies into tmp_path/raw/Dataset2203_PICAI, in this process."""

    def run(options: PrepareOptions | None = None, overwrite: bool = False, workers: int = 1) -> tuple[Path, Summary]:
        options = options or PrepareOptions()
        dataset = tmp_path / "raw" / "Dataset2203_PICAI"
        plan = make_plan(builder.images, builder.labels, dataset, options)
        return dataset, prepare_dataset(plan, dataset, options, workers=workers, overwrite=overwrite, progress=False)

    return run
