"""The page of the viewer, and the list of cases it shows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from nnunetv2_textguided.errors import TextGuidedError
from nnunetv2_textguided.files import atomic_path, write_text
from nnunetv2_textguided.inference.cases import VIEWER
from nnunetv2_textguided.inference.tables import read_records
from nnunetv2_textguided.pages.render import render

PAGE = "viewer.html"
ASSETS = Path(__file__).parent / "assets"
_BESIDE = ("niivue.js", "LICENSE.niivue", "lesions.js", "viewer.js")


def write_page(folder: Path) -> Path | None:
    """Write viewer.html and what it needs into a prediction folder; lists the cases that have a script there.

    Returns:
        The page; None where there is no case to show, and then nothing is written.
    """
    listed = [
        {
            "name": record["case"],
            "likelihood": record["case_likelihood"],
            "combined": record.get("combined_likelihood"),
            "from": " + ".join(record.get("combined_from", ())),
        }
        for record in read_records(folder)
        if (folder / VIEWER / f"{record['case']}.js").is_file()
    ]
    if not listed:
        return None
    for name in _BESIDE:
        if not (ASSETS / name).is_file():
            raise TextGuidedError(
                f"The viewer's file {name} is missing.",
                where=ASSETS,
                remedy="Reinstall, or run `python -m nnunetv2_textguided.inference.viewer.vendor` (needs npm).",
            )
        with atomic_path(folder / VIEWER / name) as path:
            shutil.copyfile(ASSETS / name, path)
    write_text(folder / VIEWER / "cases.js", f"window.PREDICTION = {json.dumps({'cases': listed})};\n")
    write_text(folder / PAGE, render(ASSETS / "viewer.html.j2"))
    return folder / PAGE
