"""The notebook runs from its first cell to its last, on a tiny trained model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from tests.inference.models import PATCH, SPACING, make_model, scene

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed (extra dev)")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (extra dev)")
pytest.importorskip("ipykernel", reason="ipykernel is not installed (extra dev)")


def test_the_notebook_runs_and_finds_the_lesion(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(repository))
    torch.set_num_threads(1)
    folder = tmp_path / "model"
    make_model(folder, folds=1, steps=50)
    described = json.loads((folder / "dataset.json").read_text())
    # The tiny model's channels are noise and balls: an ADC would be scaled by its unit.
    described["channel_names"] = {"0": "T2W", "1": "Flair", "2": "HBV"}
    (folder / "dataset.json").write_text(json.dumps(described))
    files = {}
    for name, values in zip(("t2w", "flair", "hbv"), scene(np.random.default_rng(3), PATCH, 1)[0], strict=True):
        image = sitk.GetImageFromArray(values.astype(np.float32))
        image.SetSpacing(SPACING[::-1])
        files[name] = str(tmp_path / f"{name}.mha")
        sitk.WriteImage(image, files[name])
    notebook = nbformat.read(repository / "docs" / "one_patient.ipynb", as_version=4)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    parameters.source = f"MODEL = {str(folder)!r}\nIMAGES = {files!r}"
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    printed = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    assert "lesion 1: confidence" in printed
    assert "patient.nii.gz" in printed
    assert any("image/png" in output.get("data", {}) for output in outputs)
