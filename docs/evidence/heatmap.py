"""How true a heatmap's probabilities are, beside the segmentation's: what docs/evidence.md says of it.

    nnUNetv2_textguided predict ... -o PREDICTIONS --heatmaps --save_probabilities
    python docs/evidence/heatmap.py PREDICTIONS LABELS [--name csPCa --value 1]

Needs scikit-learn, which nnU-Net installs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from sklearn.metrics import average_precision_score

BINS = 10


def calibration_error(probability: np.ndarray, inside: np.ndarray) -> float:
    """Expected calibration error of flat probabilities: mean distance of claim and truth over ten equal bins."""
    place = np.minimum((probability * BINS).astype(int), BINS - 1)
    gap = np.bincount(place, probability, BINS) - np.bincount(place, inside, BINS)
    return float(np.abs(gap).sum() / len(probability))


def read(predictions: Path, labels: Path, name: str, value: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All voxels of all cases: heatmap, probability of the segmentation, truth."""
    parts = []
    for file in sorted(predictions.glob("*.npz")):
        case = f"{file.stem}.nii.gz"
        heatmap, truth = (
            sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
            for path in (predictions / "heatmaps" / name / case, labels / case)
        )
        probability = np.load(file)["probabilities"][value]
        parts.append([heatmap.ravel().astype(float), probability.ravel().astype(float), truth.ravel() == value])
    if not parts:
        raise SystemExit(f"No .npz in {predictions}: predict with --heatmaps --save_probabilities.")
    heatmap, probability, truth = (np.concatenate(part) for part in zip(*parts, strict=True))
    return heatmap, probability, truth


def main(arguments: list[str] | None = None) -> None:
    """Print one row for the heatmap and one for the segmentation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("predictions", type=Path, help="folder that the prediction wrote")
    parser.add_argument("labels", type=Path, help="folder of the reference label maps, such as labelsTr")
    parser.add_argument("--name", default="csPCa", help="label (default: %(default)s)")
    parser.add_argument("--value", type=int, default=1, help="its value in the label maps (default: %(default)s)")
    args = parser.parse_args(arguments)
    heatmap, probability, truth = read(args.predictions, args.labels, args.name, args.value)
    print("| | calibration error | Brier score | average precision |\n|---|---|---|---|")
    for title, shown in (("heatmap", heatmap), ("segmentation", probability)):
        brier, precision = np.mean((shown - truth) ** 2), average_precision_score(truth, shown)
        print(f"| {title} | {calibration_error(shown, truth):.4f} | {brier:.4f} | {precision:.3f} |")


if __name__ == "__main__":
    main()
