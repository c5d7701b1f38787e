"""The files of a prepared data set beside its images: dataset.json, splits_final.json, cases.csv, LICENCE.md."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunetv2_textguided import __version__
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import read_json, write_json, write_text
from nnunetv2_textguided.nnunet.splits import SPLITS, Splits
from nnunetv2_textguided.picai.label_sources import LEFT_OUT, TEXT_ONLY
from nnunetv2_textguided.picai.options import PrepareOptions
from nnunetv2_textguided.tables import read_table

CASES = "cases.csv"
OPTIONS = "picai_options.json"
LICENCE = "LICENCE.md"
COLUMNS = (
    "case", "patient", "study", "fold", "centre", "csPCa", "ISUP", "lesion_ISUP", "lesion_GS", "PI_RADS", "PSA", "PSAD",
    "age", "prostate_volume", "lesions", "lesion_ml", "gland_ml", "label_source", "zone_source", "zone_gland_dice",
    "spacing_zyx", "size_zyx", "remarks",
)  # fmt: skip

_REFERENCE = (
    "Saha A, Bosma JS, Twilt JJ, et al. Artificial intelligence and radiologists in prostate cancer detection on MRI "
    "(PI-CAI). Lancet Oncol 2024; 25: 879-887."
)
_LICENCE_TEXT = """# Licence and citation of this data set

Made by nnunetv2-textguided {version} from the public training and development set of the PI-CAI challenge. It is a
derivative of that set and stays under its licences. **CC BY-NC 4.0: no commercial use.**

| what | source | licence |
|---|---|---|
| images | PI-CAI, https://zenodo.org/record/6517398 | CC BY-NC 4.0 |
| images of the ProstateX part (328 studies) | TCIA, doi 10.7937/K9TCIA.2017.MURS5CL | CC BY 3.0 |
| lesion masks, marksheet | https://github.com/DIAGNijmegen/picai_labels | CC BY-NC 4.0 |
| five folds | https://github.com/DIAGNijmegen/picai_baseline | Apache 2.0 |

Lesion masks used: {sources}. Changes made: selected, made binary, resampled onto the T2W grid where grids differed,
resampled and cropped as {options_file} says.

## Cite
- {reference}
{citations}- Software: picai_prep, picai_eval and picai_baseline (github.com/DIAGNijmegen), Report-Guided
  Annotation (Bosma JS, et al. Radiol Artif Intell 2023; 5(5): e230031).
"""
_CITATIONS = {
    "Pooch25": "- Masks of 205 studies: Pooch EHP, Agrotis G, Cai L, et al. Semi-supervised learning in prostate MRI\n"
    "  tumor segmentation approaches fully-supervised performance on external validation.\n"
    "  medRxiv 2025.05.13.25327456.\n",
    "Bosma22a (AI)": "- AI lesion masks: Bosma JS, Saha A, Hosseinzadeh M, et al. Semisupervised learning with\n"
    "  report-guided pseudo labels for deep learning-based prostate cancer detection using biparametric MRI.\n"
    "  Radiol Artif Intell 2023; 5(5): e230031.\n",
    "HeviAI23": "- AI zone masks HeviAI23: Karagoz A, et al., doi 10.5281/zenodo.7615350.\n",
    "Yuan23": "- AI zone masks Yuan23: Yuan Y, et al. PI-CAI challenge report, 2022.\n",
}


def write_dataset_json(folder: Path, options: PrepareOptions, cases: int) -> None:
    """Write nnU-Net's dataset.json for `cases` training cases."""
    write_json(
        folder / "dataset.json",
        {
            "name": folder.name.split("_", 1)[-1],
            "description": "bpMRI of the PI-CAI public training and development set",
            "channel_names": options.channel_names,
            "labels": options.labels,
            # nnU-Net ignores the key: these are no classes, but text can name them.
            **({"anatomy": options.anatomy} if options.anatomy else {}),
            "numTraining": cases,
            "file_ending": ".nii.gz",
            "licence": "CC BY-NC 4.0",
            "reference": "https://pi-cai.grand-challenge.org",
            "citation": _REFERENCE,
            "converted_by": f"nnunetv2-textguided {__version__}",
            # The name "CT" only asks nnU-Net for statistics over the whole data set; the channel is the ADC map.
            "channel_contents": {"0": "T2W", "1": "ADC (1e-6 mm2/s)", "2": "HBV (high b-value DWI)"},
        },
    )


def write_splits(folder: Path, splits: Splits, preprocessed: Path | None) -> str | None:
    """Write splits_final.json into the raw data set, from where nnU-Net's planning copies it.

    nnU-Net trains on the copy in nnUNet_preprocessed, and planning stops with a bare assertion when the two differ. So
    a copy that is still what an earlier run wrote is updated; one that somebody changed is left alone.

    Args:
        folder: the raw data set.
        splits: folds in nnU-Net's layout.
        preprocessed: the data set's folder in nnUNet_preprocessed, if that path is set.

    Returns:
        A warning about a changed copy, or None.
    """
    target = folder / SPLITS
    earlier = read_json(target, error=DataError) if target.is_file() else None
    write_json(target, splits)
    copy = None if preprocessed is None else preprocessed / SPLITS
    if copy is None or not copy.is_file():
        return None
    present = read_json(copy, error=DataError)
    if present == splits:
        return None
    if present == earlier:
        write_json(copy, splits)
        return None
    return (
        f"{copy} holds other folds than the official ones of this data set and was left alone; training uses it. "
        f"Delete it to use the official folds."
    )


def write_cases(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write cases.csv: one row per case, columns as in COLUMNS."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({k: "" if v is None else v for k, v in row.items()} for row in rows)
    write_text(folder / CASES, buffer.getvalue())


def read_cases(path: Path) -> dict[str, dict[str, str]]:
    """Read the rows of a cases.csv whose case the data set holds; keys are case identifiers.

    Raises:
        DataError: unreadable, or without the columns `case` and `patient`.
    """
    rows = [row.cells for row in read_table(path, ["case", "patient"]).rows]
    return {row["case"]: row for row in rows if row.get("label_source") != LEFT_OUT}


def write_licence(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write LICENCE.md: sources, licences and what to cite for what this data set really contains."""
    sources = Counter(str(row["label_source"]) for row in rows if row["label_source"] != TEXT_ONLY)
    used = {*sources, *(str(row.get("zone_source")) for row in rows)}
    write_text(
        folder / LICENCE,
        _LICENCE_TEXT.format(
            version=__version__,
            sources=", ".join(f"{name} {count}" for name, count in sorted(sources.items())) or "none",
            options_file=OPTIONS,
            reference=_REFERENCE,
            citations="".join(text for name, text in _CITATIONS.items() if name in used),
        ),
    )
