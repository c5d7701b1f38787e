"""The second rendering of the study (protocol.md): benign findings that look like small cancers.

    python docs/evidence/mimics.py --renderer phantom.py --out FOLDER [the renderer's other options]

The renderer draws bpMRI on the public PI-CAI masks and is not part of this package. Its nodules and prostatitis stay;
its faint focal findings of lesion-free patients give way to as many findings as the marksheet has of PI-RADS 3 and
above (in patients with csPCa: those beyond the lesions). Each one is drawn like a lesion of csPCa of ISUP 2: the shape
is one of another patient, laid into the same zone, and contrast is drawn from the renderer's distribution for that
patient's lesion. So no voxel tells such a finding from a small cancer; what tells it is the report.

Beside what the renderer writes there are `mimicsTr/CASE.nii.gz` (the number of the finding at each voxel, else 0) and
`mimics.csv` (case, number, PI-RADS, contrast, mL).
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import importlib.util
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from scipy import ndimage

CONNECTED = np.ones((3, 3, 3))
ISUP = 2
SUSPICIOUS = 3
"""The lowest PI-RADS of a finding that is drawn."""
INSIDE = 0.8
"""Share of a finding that lies in the gland."""
TRIES = 200
LIMITS = ((0, 1.3), (50, 3200), (0.005, 1.3))
"""Of T2, diffusivity and signal, as the renderer's."""


@dataclass(frozen=True)
class Shape:
    """A lesion that findings are drawn like.

    Attributes:
        patient: whose lesion it is; no finding of that patient is drawn like it.
        mask: (Z, Y, X) its voxels, without margin.
        spacing: (z, y, x) of a voxel, mm.
        zone: 1 peripheral, 2 transition.
        pirads: the highest of its study.
    """

    patient: str
    mask: np.ndarray
    spacing: tuple[float, ...]
    zone: int
    pirads: int


def pirads_of(meta: dict[str, Any]) -> list[int]:
    """The marksheet's PI-RADS of each lesion, as far as it has one."""
    return [int(word) for word in str(meta["lesion_PIRADS"]).split(",") if word.strip().isdigit()]


def shapes_of(renderer: ModuleType, folder: Path) -> list[Shape]:
    """Every lesion of ISUP 2 of the masks."""
    masks, found = np.load(folder / "masks.npz"), []
    for meta in json.loads((folder / "index.json").read_text(encoding="utf-8")):
        lesion, zone, _ = renderer.decode(masks[meta["id"]])
        parts, number = ndimage.label(lesion > 0, CONNECTED)
        for part, place in enumerate(ndimage.find_objects(parts, number), start=1):
            mask = parts[place] == part
            if np.bincount(lesion[place][mask]).argmax() != ISUP:
                continue
            inside = np.bincount(zone[place][mask], minlength=3)
            highest = max(pirads_of(meta), default=0)
            found.append(
                Shape(meta["patient_id"], mask, tuple(meta["spacing_zyx"]), 1 + int(inside[2] > inside[1]), highest)
            )
    return found


def number_of(meta: dict[str, Any], lesions: int) -> list[int]:
    """PI-RADS of the benign findings of a study: those the marksheet has beyond its lesions of csPCa."""
    suspicious = sorted((value for value in pirads_of(meta) if value >= SUSPICIOUS), reverse=True)
    return suspicious[lesions:] if meta["csPCa"] else suspicious


def place(
    shape: Shape, zone: np.ndarray, gland: np.ndarray, free: np.ndarray, spacing: tuple[float, ...], rng: Any
) -> np.ndarray | None:
    """(Z, Y, X) Boolean: the shape at a random place of its zone; None: there is none.

    Args:
        shape: what is laid there.
        zone: (Z, Y, X) 1 peripheral, 2 transition.
        gland: (Z, Y, X) Boolean.
        free: (Z, Y, X) Boolean, away from lesions and other findings.
        spacing: (z, y, x) of a voxel, mm.
        rng: numpy's generator.
    """
    factors = [own / host for own, host in zip(shape.spacing, spacing, strict=True)]
    mask = ndimage.zoom(shape.mask.astype(np.uint8), factors, order=0, grid_mode=True, mode="nearest") > 0
    voxels = np.argwhere(mask)
    centres = np.argwhere((zone == shape.zone) & free)
    if not len(voxels) or not len(centres):
        return None
    offsets = voxels - np.round(voxels.mean(0)).astype(int)
    for _ in range(TRIES):
        at = offsets + centres[rng.integers(len(centres))]
        at = at[((at >= 0) & (at < gland.shape)).all(1)]
        index = tuple(at.T)
        if len(at) >= INSIDE * len(voxels) and free[index].all() and gland[index].mean() >= INSIDE:
            drawn = np.zeros(gland.shape, dtype=bool)
            drawn[tuple(at[gland[index]].T)] = True
            return drawn
    return None


class Mimics:
    """The renderer's `render` and `make`, with the findings.

    Args:
        renderer: the module.
        shapes: what findings are drawn like.
    """

    def __init__(self, renderer: ModuleType, shapes: list[Shape]) -> None:
        self.renderer, self.shapes = renderer, shapes
        self._render, self._make = renderer.render, renderer.make
        self.drawn: tuple[np.ndarray, list[dict[str, Any]]] = (np.zeros(0), [])

    def render(self, meta: dict[str, Any], packed: np.ndarray, size: Any, spacing: Any, rng: Any, centre: str) -> Any:
        """Tissue maps, label, gland and facts, as the renderer's."""
        # Without PI-RADS the renderer draws no focal finding in a patient without csPCa.
        plain = meta if meta["csPCa"] else {**meta, "lesion_PIRADS": ""}
        image, label, gland, info = self._render(plain, packed, size, spacing, rng, centre)
        lesion, zone, inside = self.renderer.decode(packed)
        free = ~ndimage.binary_dilation(lesion > 0, CONNECTED, iterations=2)
        axes, _ = self.renderer.grid(meta, size, spacing, centre)
        own = np.random.default_rng(int(hashlib.sha256(f"mimics {meta['id']}".encode()).hexdigest()[:12], 16))
        numbers, rows = np.zeros(label.shape, dtype=np.uint8), []
        shapes = [shape for shape in self.shapes if shape.patient != meta["patient_id"]]
        for pirads in number_of(meta, info["n_lesions"]):
            shape = shapes[own.integers(len(shapes))]
            part = place(shape, zone, inside > 0, free, tuple(meta["spacing_zyx"]), own)
            if part is None:
                continue
            free &= ~ndimage.binary_dilation(part, CONNECTED, iterations=2)
            image, contrast = self._painted(image, part, shape, (axes, meta, spacing), own)
            numbers[self.renderer.nearest(part.astype(np.uint8), axes) > 0] = len(rows) + 1
            millilitres = part.sum() * float(np.prod(meta["spacing_zyx"])) / 1000
            values = {"case": meta["id"], "number": len(rows) + 1, "PIRADS": pirads}
            rows.append({**values, "contrast": round(contrast, 3), "ml": round(millilitres, 3)})
        info["mimics"] = {**info["mimics"], "lesion_like": len(rows)}
        self.drawn = numbers, rows
        clipped = [np.clip(one, *limits) for one, limits in zip(image, LIMITS, strict=True)]
        return clipped, label, gland, info

    def _painted(
        self, image: Any, part: np.ndarray, shape: Shape, grid: Any, rng: Any
    ) -> tuple[list[np.ndarray], float]:
        """The maps with a finding, drawn as the renderer draws a lesion, and its contrast."""
        axes, meta, spacing = grid
        size = image[0].shape

        def field(mm: float) -> np.ndarray:
            return np.asarray(self.renderer.field(rng, size, spacing, mm))

        mean = self.renderer.LESION_C[ISUP] + self.renderer.PIRADS_C[shape.pirads]
        contrast = float(np.clip(rng.normal(mean, 0.16), 0.12, 1.1))
        mask = self.renderer.soft(part, axes, meta, spacing, blur=1.1)
        mask = np.clip(mask * (1 + 0.18 * field(2.0)), 0, 1)
        t2, diffusion = mask * np.clip(contrast * rng.uniform(0.75, 1.1), 0.08, 1), mask * min(contrast, 1)
        return [
            image[0] * (1 - t2) + t2 * (0.27 + 0.03 * field(1.5)),
            image[1] * (1 - diffusion) + diffusion * (690 + 60 * field(2.0)),
            image[2] * (1 - 0.35 * mask) + 0.35 * mask * 0.78,
        ], contrast

    def make(self, job: Any) -> Any:
        """One case: the renderer's files, and the map of its findings."""
        row = self._make(job)
        meta, _, images, _, size, spacing, _, centre, _ = job
        numbers, rows = self.drawn
        folder = Path(images).with_name(Path(images).name.replace("images", "mimics"))
        folder.mkdir(exist_ok=True)
        _, start = self.renderer.grid(meta, size, spacing, centre)
        self.renderer.write(numbers, folder / f"{meta['id']}.nii.gz", spacing, meta, start)
        (folder / f"{meta['id']}.json").write_text(json.dumps(rows), encoding="utf-8")
        return row


def load(path: Path) -> ModuleType:
    """The renderer, as a module that its own worker processes find by name."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


_ACTIVE: list[Mimics] = []


def make(job: Any) -> Any:
    """One case; a function, as the renderer hands it to processes that are forked."""
    return _ACTIVE[0].make(job)


def main() -> None:
    """Render, with the renderer's own options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--renderer", type=Path, required=True, help="the script that draws bpMRI on PI-CAI's masks")
    parser.add_argument("--out", type=Path, required=True, help="the raw data set's folder")
    parser.add_argument("--train", type=Path, help="folder of masks; default: the renderer's")
    args, options = parser.parse_known_args()
    path = args.renderer.resolve()
    masks = args.train or path.parents[1] / "data" / "picai_geometry"
    renderer: Any = load(path)
    _ACTIVE[:] = [Mimics(renderer, shapes_of(renderer, masks))]
    renderer.render, renderer.make = _ACTIVE[0].render, make
    sys.argv = [str(path), "--out", str(args.out), "--train", str(masks), *options]
    renderer.main()
    files = sorted(args.out.glob("mimics*/*.json"))
    rows = [row for file in files for row in json.loads(file.read_text(encoding="utf-8"))]
    with (args.out / "mimics.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, ["case", "number", "PIRADS", "contrast", "ml"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for file in files:
        file.unlink()


if __name__ == "__main__":
    main()
