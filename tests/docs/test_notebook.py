"""The notebooks run from first cell to last, and what the site shows of them is what a run gives."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import torch

from tests.docs.notebooks import DOCS, NOTEBOOKS, execute

for package in ("nbformat", "nbclient", "ipykernel"):
    pytest.importorskip(package, reason=f"{package} is not installed (extra dev)")


def kinds(cells: list[dict[str, Any]]) -> list[list[str]]:
    """What each cell's outputs are; consecutive prints are one."""
    outputs = [cell.get("outputs", ()) for cell in cells]
    return [sorted({kind for o in some for kind in (o.get("name"), *o.get("data", ())) if kind}) for some in outputs]


def printed(cells: list[dict[str, Any]]) -> str:
    return "".join("".join(o["text"]) for cell in cells for o in cell.get("outputs", ()) if o.get("name") == "stdout")


@pytest.fixture(scope="module", params=NOTEBOOKS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, Any]]]:
    """Name and cells of a notebook after its run."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(DOCS.parent))
        return request.param, execute(request.param, tmp_path_factory.mktemp("notebook")).cells


def test_what_is_kept_in_the_notebook_is_what_a_run_gives(run: tuple[str, list[dict[str, Any]]]) -> None:
    name, cells = run
    kept = json.loads((DOCS / name).read_text(encoding="utf-8"))["cells"]
    assert kinds(kept) == kinds(cells), "run: python -m tests.docs.notebooks"
    assert any("image/png" in kind for kind in kinds(kept))
    assert "stderr" not in str(kinds(cells))
    # Numbers differ from machine to machine in their last digits; words and their order do not.
    words = [re.sub(r"[\d.]+", "#", printed(some)) for some in (kept, cells)]
    assert words[0] == words[1]


def test_the_patients_lesion_is_found(run: tuple[str, list[dict[str, Any]]]) -> None:
    name, cells = run
    if name != "one_patient.ipynb":
        pytest.skip("another notebook")
    assert "lesion 1: confidence" in printed(cells)
    assert "patient.nii.gz" in printed(cells)


def test_the_words_find_the_lesion_and_others_do_not(run: tuple[str, list[dict[str, Any]]]) -> None:
    name, cells = run
    if name != "words_and_heatmap.ipynb":
        pytest.skip("another notebook")
    found = {
        words: (float(inside), float(outside))
        for words, inside, outside in re.findall(r"(.+): mean ([\d.]+) in the lesion, ([\d.]+) els", printed(cells))
    }
    inside, outside = found["the label's words"]
    assert inside > 0.7 > 0.2 > outside
    assert found["the context's words"][0] < 0.2
    assert found["trained with random vectors"][0] > 0.7
