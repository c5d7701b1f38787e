"""A synthetic archive in the public download's layout: official identifiers, tiny volumes with a gland and a lesion."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

EXPERT = "csPCa_lesion_delineations/human_expert/resampled"
POOCH = "csPCa_lesion_delineations/human_expert/Pooch25"
BOSMA = "csPCa_lesion_delineations/AI/Bosma22a"
GLAND = "anatomical_delineations/whole_gland/AI/Bosma22b"
ZONES = "anatomical_delineations/zonal_pz_tz/AI"

# T2W: 40 x 40 x 8 voxels of 0.5 x 0.5 x 3 mm; ADC and HBV: 12 x 12 x 8 of 2 x 2 x 3 mm around the same centre.
T2W_SIZE, T2W_SPACING, T2W_ORIGIN = (40, 40, 8), (0.5, 0.5, 3.0), (0.0, 0.0, 0.0)
DWI_SIZE, DWI_SPACING, DWI_ORIGIN = (12, 12, 8), (2.0, 2.0, 3.0), (-1.125, -1.125, 0.0)
HEADER = [
    "patient_id", "study_id", "mri_date", "patient_age", "psa", "psad", "prostate_volume", "histopath_type",
    "lesion_PIRADS", "lesion_GS", "lesion_ISUP", "case_ISUP", "case_csPCa", "center",
]  # fmt: skip

# Official identifiers of four patients.
CASES = ("10000_1000000", "10001_1000001", "10002_1000002", "10003_1000003")


def image(values: np.ndarray, size: str = "t2w") -> sitk.Image:
    """An image of `values` (z, y, x) with the geometry of T2W or of the diffusion series."""
    made = sitk.GetImageFromArray(values)
    made.SetSpacing(T2W_SPACING if size == "t2w" else DWI_SPACING)
    made.SetOrigin(T2W_ORIGIN if size == "t2w" else DWI_ORIGIN)
    return made


def block(value: int, z: slice, y: slice, x: slice) -> np.ndarray:
    """A T2W-sized uint8 (z, y, x) array with `value` in one block."""
    made = np.zeros(T2W_SIZE[::-1], dtype=np.uint8)
    made[z, y, x] = value
    return made


LESION = (slice(3, 5), slice(22, 27), slice(14, 19))
GLAND_BLOCK = (slice(1, 7), slice(8, 32), slice(8, 32))


@dataclass
class Builder:
    """Writes studies below `root`/images and `root`/picai_labels."""

    root: Path

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def labels(self) -> Path:
        return self.root / "picai_labels"

    def prepare(self, raw: Path, *more: object) -> list[str]:
        """The words of `picai prepare` that make Dataset2203 of the archive in `raw`."""
        words = ["picai", "prepare", "--images", self.images, "--labels", self.labels, "-d", "2203", "--raw", raw]
        return [*map(str, words), *map(str, more)]

    def image_file(self, case: str, modality: str) -> Path:
        return self.images / case.split("_")[0] / f"{case}_{modality}.mha"

    def label_file(self, folder: str, case: str) -> Path:
        return self.labels / folder / f"{case}.nii.gz"

    def study(self, case: str, *, cspca: bool, seed: int = 0, source: str = EXPERT) -> None:
        """One complete study; a lesion of ISUP 3 (1 in sources other than the experts') where `cspca`."""
        random = np.random.default_rng(seed + int(case.split("_")[0]))
        write(image(random.integers(50, 500, T2W_SIZE[::-1]).astype(np.uint16)), self.image_file(case, "t2w"))
        for modality, low, high in (("adc", 600, 2000), ("hbv", 5, 60)):
            values = random.integers(low, high, DWI_SIZE[::-1]).astype(np.uint16)
            write(image(values, "dwi"), self.image_file(case, modality))
        value = (3 if source == EXPERT else 1) if cspca else 0
        write(image(block(value, *LESION)), self.label_file(source, case))
        write(image(block(1, *GLAND_BLOCK)), self.label_file(GLAND, case))
        zones = block(1, *GLAND_BLOCK)
        zones[1:7, 8:20, 8:32] = 2
        for name in ("HeviAI23", "Yuan23"):
            write(image(zones), self.label_file(f"{ZONES}/{name}", case))

    def marksheet(self, verdicts: dict[str, bool]) -> None:
        """The marksheet for these studies (case -> csPCa)."""
        path = self.labels / "clinical_information" / "marksheet.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(HEADER)
            for case, cspca in verdicts.items():
                grade = ("4+3", "3", "3", "YES") if cspca else ("3+3,0+0", "1,0", "1", "NO")
                writer.writerow(
                    [*case.split("_"), "2020-01-01", 60, 8.5, 0.2, 40, "MRBx", "4" if cspca else "4,4", *grade, "RUMC"]
                )


def write(made: sitk.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(made, str(path), useCompression=True)


def build_archive(root: Path) -> Builder:
    """Four studies of four patients below `root`; the first and the third have csPCa."""
    verdicts = {case: number % 2 == 0 for number, case in enumerate(CASES)}
    made = Builder(root)
    for case, cspca in verdicts.items():
        made.study(case, cspca=cspca)
    made.marksheet(verdicts)
    return made
