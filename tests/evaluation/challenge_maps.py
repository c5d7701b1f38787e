"""The ten test cases of picai_eval's own test suite, rebuilt from their published description and results.

The original maps are binary files of its repository (tests/test-maps), in no distribution on PyPI. Its overview.md says
what each case holds, and tests/output-expected/metrics-full-expected.json gives every overlap as (i + 1e-8)/(u + 1e-8)
in double precision, from which intersection i and union u follow: for example 0.33333333342222227 is 25 / 75. Each case
here is a row of voxels with lesions and candidates of exactly those sizes.
"""

from __future__ import annotations

import numpy as np

# Case -> (runs of the reference, runs of the detection map as (start, stop, confidence)).
Runs = tuple[list[tuple[int, int]], list[tuple[int, int, float]]]
CASES: dict[str, Runs] = {
    "case-0": ([], []),
    "case-1": ([(0, 50)], []),
    "case-2": ([], [(0, 50, 1.0)]),
    "case-3": ([(0, 50)], [(100, 150, 1.0)]),
    "case-4": ([(0, 50)], [(25, 75, 1.0)]),  # 25 / 75
    "case-5": ([(100, 175)], [(52, 127, 1.0), (166, 241, 2.0)]),  # 27 / 123 and 9 / 141
    "case-6": ([(100, 160)], [(70, 130, 1.0), (140, 170, 2.0)]),  # 30 / 90 and 20 / 70
    "case-7": ([(0, 119), (120, 239)], [(59, 180, 1.0)]),  # 60 / 180 with each
    "case-8": ([(0, 144), (145, 289)], [(69, 165, 1.0)]),  # 75 / 165 and 20 / 220
    "case-9": ([(0, 65)], [(60, 125, 1.0)]),  # 5 / 125
}

# tests/output-expected/metrics-full-expected.json of picai_eval.
EXPECTED_RESULTS: dict[str, list[tuple[int, float, float]]] = {
    "case-0": [],
    "case-1": [(1, 0.0, 0.0)],
    "case-2": [(0, 1.0, 0.0)],
    "case-3": [(1, 0.0, 0.0), (0, 1.0, 0.0)],
    "case-4": [(1, 1.0, 0.33333333342222227)],
    "case-5": [(1, 1.0, 0.21951219518540552), (0, 2.0, 0.0)],
    "case-6": [(1, 1.0, 0.33333333340740745)],
    "case-7": [(1, 1.0, 0.33333333337037035), (1, 0.0, 0.0)],
    "case-8": [(1, 1.0, 0.4545454545785123), (1, 0.0, 0.0)],
    "case-9": [(1, 0.0, 0.0), (0, 1.0, 0.0)],
}
EXPECTED_SCORES = {f"case-{i}": score for i, score in enumerate((0, 0, 1, 1, 1, 2, 2, 1, 1, 1))}
EXPECTED_AUROC = 0.75
EXPECTED_AP = 0.2777777777777778


def maps(case: str) -> tuple[np.ndarray, np.ndarray]:
    """Detection map (float32) and reference (uint8) of a case, both (3, 3, 300)."""
    lesions, candidates = CASES[case]
    reference = np.zeros((3, 3, 300), dtype=np.uint8)
    detection = np.zeros((3, 3, 300), dtype=np.float32)
    for start, stop in lesions:
        reference[0, 0, start:stop] = 1
    for start, stop, confidence in candidates:
        detection[0, 0, start:stop] = confidence
    return detection, reference
