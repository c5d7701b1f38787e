"""A benchmark's validated folds without any training: procedural masks of a chosen quality, as nnU-Net leaves them."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunetv2_textguided.nnunet.folders import Folders

DATASET = "Dataset910_Lesions"
CONFIGURATION, PLANS = "3d_fullres", "nnUNetPlans"
SHAPE, SPACING = (10, 48, 48), (3.0, 0.8, 0.8)  # z, y, x
STOCK, METHOD = "nnUNetTrainer", "nnUNetTrainerAlignRefine"
NO_TEXT, RANDOM = f"{METHOD}_NoText", f"{METHOD}_RandomText"


@dataclass(frozen=True)
class Quality:
    """How well a fake trainer predicts.

    Attributes:
        shift: displacement of its lesions in voxels.
        missed: share of lesions that it misses.
        alarms: false alarms per case.
        seed: of its chance.
    """

    shift: float = 1.0
    missed: float = 0.1
    alarms: float = 0.3
    seed: int = 0


@dataclass
class FakeStudy:
    """nnU-Net's three folders with a data set and validated folds.

    Args:
        root: an empty folder.
        cases: cases, of which every third has no lesion and every fifth patient has two.
        folds: number of folds.
    """

    root: Path
    cases: int = 15
    folds: int = 3
    references: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        random = np.random.default_rng(7)
        names = [f"case_{i:03d}" for i in range(self.cases)]
        for folder in ("imagesTr", "labelsTr"):
            (self.raw / folder).mkdir(parents=True)
        (self.preprocessed / "gt_segmentations").mkdir(parents=True)
        rows = []
        for number, name in enumerate(names):
            reference = lesions(random, number % 3)
            self.references[name] = reference
            save(self.preprocessed / "gt_segmentations" / f"{name}.nii.gz", reference)
            for channel, image in enumerate(images(random, reference)):
                save(self.raw / "imagesTr" / f"{name}_{channel:04d}.nii.gz", image)
            isup = 0 if number % 3 == 0 else 2 + number % 4
            rows.append({"case": name, "patient": f"p{number - (number % 5 == 4)}", "centre": "ABC"[number // 2 % 3],
                         "ISUP": isup, "PI_RADS": 3 + number // 3 % 3})  # fmt: skip
        self.write_cases(rows)
        patients = sorted({row["patient"] for row in rows})
        owner = {row["case"]: patients.index(row["patient"]) % self.folds for row in rows}
        splits = [{"train": [n for n in names if owner[n] != f], "val": [n for n in names if owner[n] == f]}
                  for f in range(self.folds)]  # fmt: skip
        self.splits = splits
        write_json(self.preprocessed / "splits_final.json", splits)
        self.describe({"background": 0, "csPCa": 1})

    @property
    def raw(self) -> Path:
        return self.root / "raw" / DATASET

    @property
    def preprocessed(self) -> Path:
        return self.root / "preprocessed" / DATASET

    @property
    def folders(self) -> Folders:
        return Folders(self.root / "raw", self.root / "preprocessed", self.root / "results")

    def model(self, trainer: str, plans: str = PLANS) -> Path:
        return self.root / "results" / DATASET / f"{trainer}__{plans}__{CONFIGURATION}"

    def describe(self, labels: Mapping[str, Any]) -> None:
        description = {"channel_names": {"0": "T2W", "1": "ADC", "2": "HBV"}, "labels": dict(labels),
                       "numTraining": self.cases, "file_ending": ".nii.gz"}  # fmt: skip
        write_json(self.preprocessed / "dataset.json", description)
        write_json(self.raw / "dataset.json", description)

    def write_cases(self, rows: Sequence[Mapping[str, Any]]) -> None:
        with (self.raw / "cases.csv").open("w", newline="") as handle:
            writer = csv.DictWriter(handle, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    def validate(
        self,
        trainer: str,
        quality: Quality,
        *,
        plans: str = PLANS,
        probabilities: bool = True,
        log_epochs: int = 12,
    ) -> None:
        """Leave behind what a trainer leaves behind after all folds."""
        configuration = {"patch_size": [8, 48, 48], "batch_size": 2, "spacing": list(SPACING)}
        write_json(self.model(trainer, plans) / "plans.json", {"configurations": {CONFIGURATION: configuration}})
        for fold, split in enumerate(self.splits):
            folder = self.model(trainer, plans) / f"fold_{fold}" / "validation"
            folder.mkdir(parents=True, exist_ok=True)
            for case in split["val"]:
                random = np.random.default_rng([quality.seed, int(case[-3:])])
                probability = predict(random, self.references[case], quality)
                save(folder / f"{case}.nii.gz", (probability > 0.5).astype(np.uint8))
                if probabilities:
                    np.savez_compressed(folder / f"{case}.npz", probabilities=np.stack([1 - probability, probability]))
            write_json(folder / "summary.json", {"foreground_mean": {"Dice": 0.5}})
            write_json(folder.parent / "debug.json", {"num_epochs": str(log_epochs), "num_iterations_per_epoch": "10"})
            self._write_log(folder.parent, log_epochs, quality)

    def _write_log(self, folder: Path, epochs: int, quality: Quality) -> None:
        lines = []
        for epoch in range(epochs):
            dice = 0.7 * (1 - np.exp(-epoch / 4)) / (1 + quality.shift / 3)
            lines += ["", f"Epoch {epoch} ", f"train_loss {1 - 1.2 * dice:.4f} ", f"val_loss {1 - dice:.4f} ",
                      f"Pseudo dice [np.float32({dice:.4f})] ", "Epoch time: 2.50 s "]  # fmt: skip
        text = "\n".join(f"2026-01-01 10:00:{i % 60:02d}.000001: {line}" for i, line in enumerate(lines))
        (folder / "training_log_2026_1_1_10_00_00.txt").write_text(text + "\n")

    def record(self, trainer: str, fold: int, **values: Any) -> None:
        """Write a fold's benchmark_record.json."""
        write_json(self.model(trainer) / f"fold_{fold}" / "benchmark_record.json", values)


def lesions(random: np.random.Generator, number: int) -> np.ndarray:
    """Reference with `number` lesions, uint8 (z, y, x)."""
    made = np.zeros(SHAPE, np.uint8)
    for side in range(number):
        centre = [random.uniform(3, 7), random.uniform(14, 34), 14 + 20 * side + random.uniform(-2, 2)]
        made[ball(centre, random.uniform(3.0, 8.0))] = 1
    return made


def ball(centre: Sequence[float], radius_mm: float) -> np.ndarray:
    axes = np.ix_(*map(np.arange, SHAPE))
    distance = sum(((a - c) * s) ** 2 for a, c, s in zip(axes, centre, SPACING, strict=True))
    return np.asarray(distance <= radius_mm**2)


def images(random: np.random.Generator, reference: np.ndarray) -> list[np.ndarray]:
    """T2W, ADC and HBV, float32."""
    gland = ball((4.5, 24, 24), 18)
    lesion = reference.astype(float)
    noise = [random.normal(0, s, SHAPE) for s in (25, 120, 20)]
    t2w = 250 + 300 * gland - 220 * lesion + noise[0]
    adc = 400 + 1100 * gland - 650 * lesion + noise[1]
    hbv = 60 + 60 * gland + 150 * lesion + noise[2]
    return [np.clip(image, 0, None).astype(np.float32) for image in (t2w, adc, hbv)]


def predict(random: np.random.Generator, reference: np.ndarray, quality: Quality) -> np.ndarray:
    """Probabilities, float32 (z, y, x)."""
    from scipy import ndimage

    components, number = ndimage.label(reference)
    probability = np.full(SHAPE, 0.002, np.float32)
    for lesion in range(1, number + 1):
        draws = random.random(2)
        moved = ndimage.shift((components == lesion).astype(np.float32), (0, quality.shift, quality.shift), order=1)
        confidence = 0.55 + 0.44 * draws[0] if draws[1] >= quality.missed else 0.2 * draws[0]
        probability = np.maximum(probability, moved * confidence)
    for _ in range(random.poisson(quality.alarms)):
        centre = (random.uniform(2, 8), random.uniform(6, 10), random.uniform(8, 40))
        probability[ball(centre, 3.2)] = random.uniform(0.1, 0.7)
    # A little texture: a probability map, not one value per lesion.
    return (probability * random.uniform(0.99, 1.0, SHAPE)).astype(np.float32)


def noisy_map(random: np.random.Generator, reference: np.ndarray, noise: float, shift: float) -> np.ndarray:
    """Probabilities, float32 (z, y, x): `noise` spoils the map, `shift` of all its logits only moves its threshold."""
    from scipy import ndimage

    field = ndimage.gaussian_filter(random.normal(0, 1, SHAPE), (1, 2, 2))
    logit = 9 * (ndimage.gaussian_filter(reference.astype(np.float32), (0.5, 1, 1)) - 0.5)
    return np.asarray(1 / (1 + np.exp(-logit - noise * field / field.std() - shift)), np.float32)


def save(path: Path, values: np.ndarray) -> None:
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(SPACING[::-1])
    sitk.WriteImage(image, str(path))


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
