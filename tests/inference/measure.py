"""Measure what predicting one case of PI-CAI's size takes, by step, and what its results weigh: docs/scaling.md.

    python -m tests.inference.measure

Processor seconds (one thread, so a busy machine does not matter) and bytes. The image is the demo's phantom on PI-CAI's
median grid; what the network found is made from its labels. The network itself is counted, not run: floating-point
operations for one case with the plans that the planner makes for PI-CAI.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window
from scipy import ndimage

from nnunetv2_textguided.demo.phantom import render_case
from nnunetv2_textguided.demo.shapes import Grid
from nnunetv2_textguided.files import write_json
from nnunetv2_textguided.inference.cases import CASES
from nnunetv2_textguided.inference.cohort import find_cases
from nnunetv2_textguided.inference.explaining import HEATMAP_SCALE
from nnunetv2_textguided.inference.loading import load_predictor, make_exporter
from nnunetv2_textguided.inference.options import ModelOptions, OutputOptions
from nnunetv2_textguided.inference.prepare import prepare_case
from nnunetv2_textguided.inference.tables import write_tables
from tests.inference.models import make_model, write_case
from tests.planning.conftest import describe_picai

GRID = Grid((21, 384, 384), (3.0, 0.5, 0.5))
RESULTS: dict[str, dict[str, Any]] = {
    "mask": {"candidates": "none"},
    "mask, candidates": {},
    "mask, candidates, heatmaps": {"heatmaps": True},
    "the same, overlays": {"heatmaps": True, "overlays": True},
    "the same, viewer": {"heatmaps": True, "overlays": True, "viewer": True},
}


def count_network(root: Path) -> tuple[float, int]:
    """Floating-point operations of one window, and windows per case and fold without mirroring, as planned for 8 GB."""
    from nnunetv2_textguided.planning.run import plan_dataset

    for part in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{part}"] = str(root / part)
    describe_picai(root)
    fit = plan_dataset(2203).decisions["3d_fullres"].ours
    steps = compute_steps_for_sliding_window(GRID.size, tuple(int(n) for n in fit.plan["patch_size"]), 0.5)
    return fit.cost.flops_per_patch, math.prod(map(len, steps))


def predicted(labels: np.ndarray) -> np.ndarray:
    """(channels, z, y, x) as the predictor returns them: logits, heatmap and change map of a network that knows."""
    rng = np.random.default_rng(0)
    evidence = ndimage.gaussian_filter((labels > 0).astype(np.float32), (0.5, 3, 3))
    noise = ndimage.gaussian_filter(rng.normal(size=labels.shape).astype(np.float32), (0, 2, 2))
    logit = 16 * evidence - 8 + 2 * noise
    heatmap = 1 / (1 + np.exp(-logit))
    return np.stack([-logit / 2, logit / 2, HEATMAP_SCALE * heatmap, 0.01 * noise * (evidence > 0.2)]).astype(
        np.float16
    )


def main() -> None:
    """Print a table."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        case = render_case((0, 0, 0), 1, grid=GRID)
        write_case(root / "in", "case", np.stack(list(case.images.values())), spacing=GRID.spacing)
        model = make_model(root / "model", folds=1, spacing=GRID.spacing, normalisation="ZScoreNormalization")
        predictor = load_predictor(ModelOptions(model.folder, (0,)))
        predictor.explain()
        exporter = make_exporter(predictor, OutputOptions(root / "out"))
        (found,) = find_cases(root / "in", ".nii.gz", exporter.channels).cases
        size = sum(Path(str(file)).stat().st_size for file in found.channels)
        start = time.process_time()
        prepared = prepare_case(found, exporter.plans, exporter.configuration, dict(exporter.dataset))
        print(f"{'preprocessing':<32} {time.process_time() - start:6.1f} s {size / 1e6:8.2f} MB (input)")
        channels = predicted(case.labels)
        for name, wanted in RESULTS.items():
            label = None if wanted.get("candidates") == "none" else exporter.label
            chosen = replace(exporter, output=OutputOptions(root / name, **wanted), label=label)
            start = time.process_time()
            record = chosen.export(found, channels, prepared.properties, {})
            print(f"{name:<32} {time.process_time() - start:6.1f} s {record['bytes'] / 1e6:8.2f} MB")
        for number in range(2000):
            write_json(root / "many" / CASES / f"{number}.json", record)
        start = time.process_time()
        write_tables(root / "many")
        print(f"{'tables':<32} {(time.process_time() - start) / 2000 * 1e3:6.2f} ms per case")
        (root / "listed").mkdir()
        for number in range(6000):
            (root / "listed" / f"case{number // 3}_{number % 3:04d}.nii.gz").touch()
        start = time.process_time()
        find_cases(root / "listed", ".nii.gz", exporter.channels)
        print(f"{'listing the input':<32} {(time.process_time() - start) / 2000 * 1e3:6.2f} ms per case")
        flops, windows = count_network(root / "plans")
        print(f"{'network, one fold, no mirroring':<32} {flops * windows / 1e12:6.1f} TFLOP in {windows} windows")


if __name__ == "__main__":
    main()
