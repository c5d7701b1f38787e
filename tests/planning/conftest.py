"""Data sets that exist only as descriptions and fingerprints: all that planning reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnunetv2_textguided.planning.run import PlanResult, plan_dataset

Describe = Callable[..., Path]


def describe(root: Path, name: str, cases: int, channels: int, shapes: Any, spacings: Any, **extra: Any) -> Path:
    """Write what planning reads of a data set; returns its folder in nnUNet_preprocessed."""
    raw, preprocessed = (root / part / name for part in ("raw", "preprocessed"))
    for folder in (raw, preprocessed):
        folder.mkdir(parents=True, exist_ok=True)
    files = {
        f"case_{i}": {
            "images": [f"imagesTr/case_{i}_{c:04d}.nii.gz" for c in range(channels)],
            "label": f"labelsTr/case_{i}.nii.gz",
        }
        for i in range(cases)
    }
    description = {
        "channel_names": {str(c): n for c, n in enumerate(("T2W", "ADC", "HBV")[:channels])},
        "labels": {"background": 0, "csPCa": 1},
        "numTraining": cases,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "SimpleITKIO",
        "dataset": files,
        **extra,
    }
    (raw / "dataset.json").write_text(json.dumps(description))
    statistics = dict.fromkeys(("max", "mean", "median", "min", "percentile_00_5", "percentile_99_5", "std"), 1.0)
    fingerprint = {
        "shapes_after_crop": shapes,
        "spacings": spacings,
        "foreground_intensity_properties_per_channel": {str(c): statistics for c in range(channels)},
        "median_relative_size_after_cropping": 1.0,
    }
    (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    return preprocessed


@pytest.fixture
def flat(nnunet_folders: Path) -> Path:
    """A small 2D data set with two channels: one configuration, planned in a moment."""
    return describe(nnunet_folders, "Dataset902_Flat", 100, 2, [[1, 64, 64]] * 100, [[1.0, 1.0, 1.0]] * 100)


def describe_picai(root: Path) -> Path:
    """PI-CAI's fingerprint: 1500 cases, median 21 x 384 x 384 at 3.0 x 0.5 x 0.5 mm, three channels."""
    rng, cases = np.random.default_rng(0), 1500
    slices, size = rng.integers(19, 24, cases), rng.choice([320, 384, 384, 384, 448], cases)
    thickness, pixel = rng.choice([3.0, 3.0, 3.0, 3.6], cases), np.where(size == 448, 0.4, 0.5)
    shapes = [[int(z), int(n), int(n)] for z, n in zip(slices, size, strict=True)]
    spacings = [[float(z), float(n), float(n)] for z, n in zip(thickness, pixel, strict=True)]
    return describe(root, "Dataset2203_PICAI", cases, 3, shapes, spacings)


@pytest.fixture(scope="session")
def picai_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """nnU-Net's folders with the description of PI-CAI, for the whole session."""
    root = tmp_path_factory.mktemp("picai")
    describe_picai(root)
    with pytest.MonkeyPatch.context() as patch:
        for part in ("raw", "preprocessed", "results"):
            (root / part).mkdir(exist_ok=True)
            patch.setenv(f"nnUNet_{part}", str(root / part))
        yield root


@pytest.fixture(scope="session")
def picai(picai_folders: Path) -> PlanResult:
    """PI-CAI planned for 8 GB with plain encoders."""
    return plan_dataset(2203)
