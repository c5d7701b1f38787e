"""Runs the notebooks of docs/; `python -m tests.docs.notebooks` also keeps what they print and draw, for the site."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from tests.conftest import REPOSITORY
from tests.inference.models import PATCH, SPACING, make_model, scene

DOCS = REPOSITORY / "docs"
NOTEBOOKS = sorted(path.name for path in DOCS.glob("*.ipynb"))


def patient(folder: Path) -> str:
    """The cell `parameters` of one_patient.ipynb for a tiny trained model and a case, which are written to `folder`."""
    model = folder / "model"
    make_model(model, folds=1, steps=50)
    described = json.loads((model / "dataset.json").read_text())
    # The tiny model's channels are noise and balls: an ADC would be scaled by its unit.
    described["channel_names"] = {"0": "T2W", "1": "Flair", "2": "HBV"}
    (model / "dataset.json").write_text(json.dumps(described))
    files = {}
    for name, values in zip(("t2w", "flair", "hbv"), scene(np.random.default_rng(3), PATCH, 1)[0], strict=True):
        image = sitk.GetImageFromArray(values.astype(np.float32))
        image.SetSpacing(SPACING[::-1])
        files[name] = str(folder / f"{name}.mha")
        sitk.WriteImage(image, files[name])
    return f"MODEL = {str(model)!r}\nIMAGES = {files!r}"


def execute(name: str, folder: Path) -> Any:
    """The notebook after its run in `folder`, its cells as they are in docs/, with what they printed and drew."""
    import nbclient
    import nbformat

    notebook = nbformat.read(DOCS / name, as_version=4)
    replaced = {}
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", ()):
            replaced[cell.id], cell.source = cell.source, patient(folder)
    client = nbclient.NotebookClient(
        notebook, timeout=500, record_timing=False, resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    for cell in notebook.cells:
        cell.source = replaced.get(cell.id, cell.source)
    return notebook


def main() -> None:
    """Run all notebooks and write them with their outputs."""
    import nbformat

    for name in NOTEBOOKS:
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(execute(name, Path(folder)), DOCS / name)


if __name__ == "__main__":
    main()
