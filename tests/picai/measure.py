"""Measure time and memory of preparing and evaluating one case, and extrapolate to the 1500 public studies.

    python -m tests.picai.measure [studies.json]

Each measurement runs in a process of its own: processor seconds (one thread, so they are what a worker takes on an
otherwise idle core) and peak memory. The volumes are synthetic, on the three grids that cover most of the archive;
`studies.json` (an index of the archive with `g_size` per study) turns them into a total.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from nnunetv2_textguided.evaluation.options import Scoring
from nnunetv2_textguided.evaluation.predictions import Files
from nnunetv2_textguided.evaluation.score import ScoreJob, score_case
from nnunetv2_textguided.nnunet.labels import PICAI_TARGET
from nnunetv2_textguided.picai.case_job import CaseJob
from nnunetv2_textguided.picai.label_sources import LesionSource
from nnunetv2_textguided.picai.options import GEOMETRY, PrepareOptions
from nnunetv2_textguided.picai.prepare_case import prepare_case

GRIDS = ((384, 384, 19), (640, 640, 21), (1024, 1024, 27))
FIELD_OF_VIEW = 192.0
TASKS = ("nnunet-baseline", "unet-baseline", "evaluate")


def save(values: np.ndarray, path: Path) -> Path:
    """Write (z, y, x) `values` over the field of view, slices of 3 mm."""
    image = sitk.GetImageFromArray(values)
    image.SetSpacing([FIELD_OF_VIEW / n for n in image.GetSize()[:2]] + [3.0])
    sitk.WriteImage(image, str(path), True)
    return path


def texture(size: tuple[int, int, int], seed: int) -> np.ndarray:
    """Smooth noise as uint16 (z, y, x): it compresses about as MRI does."""
    noise = np.random.default_rng(seed).normal(size=size[::-1])
    return np.clip(300 + 400 * ndimage.gaussian_filter(noise, (0, 1, 1)), 0, 4000).astype(np.uint16)


def prepare(folder: Path, size: tuple[int, int, int], geometry: str) -> float:
    """Processor seconds of preparing one case."""
    dwi = (96, 96, size[2])
    images = tuple(
        save(texture(shape, i), folder / f"{name}.mha")
        for i, (name, shape) in enumerate((("t2w", size), ("adc", dwi), ("hbv", dwi)))
    )
    lesion = np.zeros(size[::-1], dtype=np.uint8)
    middle = [n // 2 for n in lesion.shape]
    lesion[middle[0] : middle[0] + 3, middle[1] : middle[1] + size[1] // 20, middle[2] : middle[2] + size[0] // 20] = 3
    mask = save(lesion, folder / "lesion.nii.gz")
    options = PrepareOptions(**GEOMETRY[geometry])
    job = CaseJob("1_1", images, mask, LesionSource.EXPERT, mask, {}, True, 3, options, folder / "dataset")
    start = time.process_time()
    prepare_case(job)
    return time.process_time() - start


def evaluate(folder: Path, size: tuple[int, int, int]) -> float:
    """Processor seconds of evaluating one case from nnU-Net's probabilities."""
    lesion = np.zeros(size[::-1], dtype=np.float32)
    middle = [n // 2 for n in lesion.shape]
    for shift in (0, size[0] // 5):
        where = np.s_[middle[0] : middle[0] + 3, middle[1] : middle[1] + 20, middle[2] + shift : middle[2] + shift + 20]
        lesion[where] = 1
    probability = ndimage.gaussian_filter(lesion, (0.5, 4, 4)) * 0.9 + 1e-4
    np.savez_compressed(folder / "1_1.npz", probabilities=np.stack([1 - probability, probability]))
    label = save((lesion > 0).astype(np.uint8), folder / "1_1.nii.gz")
    job = ScoreJob("1_1", label, {"model": Files(folder / "1_1.npz")}, (PICAI_TARGET,), Scoring())
    start = time.process_time()
    score_case(job)
    return time.process_time() - start


def measure(task: str, size: tuple[int, int, int]) -> tuple[float, float]:
    """Processor seconds and peak memory in GB of one case, in this process."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = evaluate(Path(folder), size) if task == "evaluate" else prepare(Path(folder), size, task)
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    """Print one line per task and grid, and the extrapolation."""
    index = [s["g_size"] for s in json.loads(Path(sys.argv[1]).read_text())] if len(sys.argv) > 1 else []
    for task in TASKS:
        rows = []
        for size in GRIDS:
            command = [sys.executable, "-m", "tests.picai.measure", "--one", task, *map(str, size)]
            rows.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
            print(f"{task:<16} {size!s:<16} {rows[-1][0]:6.1f} s {rows[-1][1]:5.2f} GB")
        slope, offset = np.polyfit([np.prod(size) for size in GRIDS], [seconds for seconds, _ in rows], 1)
        if index:
            total = sum(slope * np.prod(size) + offset for size in index)
            print(f"{task:<16} {len(index)} studies: {total / 3600:.1f} processor hours")


if __name__ == "__main__":
    if "--one" in sys.argv:
        chosen = sys.argv[sys.argv.index("--one") + 1 :]
        print(json.dumps(measure(chosen[0], (int(chosen[1]), int(chosen[2]), int(chosen[3])))))
    else:
        main()
