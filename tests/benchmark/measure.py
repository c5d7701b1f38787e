"""Measure what a report of a large benchmark takes: seconds and memory, with and without cached scores.

    python -m tests.benchmark.measure [--cases 1500] [--trainers 8] [--jobs 2]

The folds are procedural (study_builder.py), on small grids: what is measured is bookkeeping, statistics and the page,
and the scoring of lesions without the time that reading full-size volumes takes.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmark.study_builder import CONFIGURATION, DATASET, METHOD, NO_TEXT, RANDOM, STOCK, FakeStudy, Quality

DIFFERENT = (STOCK, NO_TEXT, METHOD, RANDOM)


def build(root: Path, cases: int, trainers: int) -> list[str]:
    """A benchmark of this size; every fifth and later trainer has the predictions of one before. Their names."""
    study = FakeStudy(root, cases=cases, folds=5)
    names = list(DIFFERENT[:trainers])
    for seed, name in enumerate(names):
        study.validate(name, Quality(seed=seed))
    for number in range(len(DIFFERENT), trainers):
        names.append(f"{METHOD}_{10 * number}epochs")
        shutil.copytree(study.model(DIFFERENT[number % len(DIFFERENT)]), study.model(names[-1]))
    return names


def report(root: Path, trainers: list[str], jobs: int) -> float:
    """Seconds of one `benchmark report`."""
    folders = {f"nnUNet_{part}": str(root / part) for part in ("raw", "preprocessed", "results")}
    words = ["-d", DATASET, "-c", CONFIGURATION, "--trainers", *trainers, "--jobs", str(jobs)]
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "nnunetv2_textguided.cli", "benchmark", "report", *words],
        env={**os.environ, **folders, "OMP_NUM_THREADS": "1"},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


def main() -> None:
    """Print both times and the memory of the largest process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("cases", 1500), ("trainers", 8), ("jobs", 2)):
        parser.add_argument(f"--{name}", type=int, default=value, help="default: %(default)s")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        trainers = build(root, args.cases, args.trainers)
        for kind in ("scored now", "scores cached"):
            seconds = report(root, trainers, args.jobs)
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            print(f"{args.cases} cases x {len(trainers)} trainers, {kind}: {seconds:.1f} s, {peak:.0f} MB")


if __name__ == "__main__":
    main()
