"""What the rows of the PI-CAI table cost before anything is trained: operations, and GPU hours at an assumed speed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from nnunetv2_textguided.benchmark.describe import describe_study
from nnunetv2_textguided.benchmark.facts import ModelFacts
from nnunetv2_textguided.benchmark.fairness import amount, table
from nnunetv2_textguided.benchmark.record import read_record
from nnunetv2_textguided.benchmark.rows import Row, write_row_plans
from nnunetv2_textguided.benchmark.study import Study
from nnunetv2_textguided.files import write_json
from nnunetv2_textguided.nnunet.folders import VARIABLES, variables
from nnunetv2_textguided.nnunet.splits import SPLITS
from nnunetv2_textguided.picai.options import LESION, ZONES, PrepareOptions
from nnunetv2_textguided.text.resolve import FILE_NAME

A100_TFLOPS = 30.0
"""Operations per second, in 10^12, that an A100 sustains in nnU-Net's training.

nnU-Net's documentation (expected_epoch_times.md) has 47.19 s for an epoch of 3d_fullres of MSD's prostate data set on
an A100 with 40 GB: 250 steps of two patches of 20 x 320 x 256 voxels, whose forward pass is counted as 0.948 TFLOP
here (convolutions and matrix products; a step takes three times as many). The epoch's validation is in the time.
"""
PICAI_CASES, PICAI_SHAPE, PICAI_SPACING = 1500, (21, 384, 384), (3.0, 0.5, 0.5)
"""PI-CAI's fingerprint as far as planning reads it: number of studies, median voxels and spacing in mm."""
DESCRIPTION = "dataset.json"
HEADER = ("row", "what", "parameters", "FLOPs per step", "iterations", "trainings", "done", "GPU hours")


def describe_rows(
    rows: Sequence[Row], base: str, dataset: str, preprocessed: Path | None, plan: Callable[[], object]
) -> dict[str, ModelFacts]:
    """The facts of every row, counted in a folder of its own: nothing is written into nnU-Net's.

    Args:
        rows: which.
        base: name of the method's plans.
        dataset: name of the data set.
        preprocessed: its folder in nnUNet_preprocessed, with plans; None: PI-CAI's fingerprint is planned.
        plan: plans the data set that nnU-Net's variables name.
    """
    with tempfile.TemporaryDirectory() as root:
        folders = {variable: str(Path(root) / variable) for variable in VARIABLES}
        with variables(folders):
            folder = _describe_picai(Path(root), dataset)
            if preprocessed is not None:
                for path in (preprocessed / name for name in (DESCRIPTION, FILE_NAME, f"{base}.json")):
                    if path.is_file():
                        (folder / path.name).write_bytes(path.read_bytes())
            else:
                plan()
            write_row_plans(rows, folder, base)
            study = Study.of_models(dataset, [row.model(base) for row in rows], (0,))
            facts = describe_study(study)
    return {row.name: facts[row.model(base)] for row in rows}


def _describe_picai(root: Path, dataset: str) -> Path:
    """Write what planning reads of PI-CAI; returns the folder in nnUNet_preprocessed."""
    raw, folder = root / VARIABLES[0] / dataset, root / VARIABLES[1] / dataset
    names, channels = [f"case_{number}" for number in range(PICAI_CASES)], PrepareOptions().channel_names
    files = {name: {"images": [f"imagesTr/{name}_0000.nii.gz"], "label": f"labelsTr/{name}.nii.gz"} for name in names}
    description = {
        "channel_names": channels,
        "labels": LESION,
        "anatomy": ZONES,
        "numTraining": PICAI_CASES,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "SimpleITKIO",
        "dataset": files,
    }
    statistic = dict.fromkeys(("max", "mean", "median", "min", "percentile_00_5", "percentile_99_5", "std"), 1.0)
    fingerprint = {
        "shapes_after_crop": [PICAI_SHAPE] * PICAI_CASES,
        "spacings": [PICAI_SPACING] * PICAI_CASES,
        "foreground_intensity_properties_per_channel": dict.fromkeys(channels, statistic),
        "median_relative_size_after_cropping": 1.0,
    }
    write_json(raw / DESCRIPTION, description)
    write_json(folder / DESCRIPTION, description)
    write_json(folder / "dataset_fingerprint.json", fingerprint)
    write_json(folder / SPLITS, [{"train": names[1:], "val": names[:1]}])
    return folder


def price_table(
    rows: Sequence[Row], facts: Mapping[str, ModelFacts], trainings: int, done: Mapping[str, int], tflops: float
) -> Iterator[str]:
    """The table for the terminal, and its sum.

    Args:
        rows: which.
        facts: of every row.
        trainings: folds times repeats.
        done: row -> trainings that are finished.
        tflops: operations per second, in 10^12.
    """
    flops = {row.name: 0.0 if row.networks else facts[row.name].training_flops or 0.0 for row in rows}
    costs = {name: one / (tflops * 1e12 * 3600) for name, one in flops.items()}

    def cells() -> Iterator[tuple[str, ...]]:
        yield HEADER
        for row in rows:
            f = facts[row.name]
            iterations = 0 if row.networks else f.epochs * f.iterations_per_epoch
            counts = (amount(f.parameters), amount(f.flops_per_step), str(iterations))
            hours = f"{costs[row.name] * trainings:.1f}" if f.training_flops else "?"
            yield (row.name, row.title, *counts, str(trainings), str(done.get(row.name, 0)), hours)

    yield from table(cells())
    left = sum(hours * (trainings - done.get(name, 0)) for name, hours in costs.items())
    yield f"sum: {sum(costs.values()) * trainings:.1f} GPU hours, of which {left:.1f} are left"
    yield from (f"{row.name}: FLOPs not counted: {facts[row.name].not_counted}" for row in rows
                if facts[row.name].not_counted)  # fmt: skip


def measured_tflops(folders: Sequence[Path]) -> list[float]:
    """Operations per second, in 10^12, of the finished trainings in nnU-Net's fold folders."""
    records = filter(None, map(read_record, folders))
    pairs = [(record.get("flops_per_step"), record.get("seconds_per_iteration")) for record in records]
    return [flops / seconds / 1e12 for flops, seconds in pairs if flops and seconds]
