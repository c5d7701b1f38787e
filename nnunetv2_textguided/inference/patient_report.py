"""A page for reading one patient's result on paper: key slices, lesions, the model and its limits."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from nnunetv2_textguided import __version__
from nnunetv2_textguided.files import write_text
from nnunetv2_textguided.inference import cases as places

if TYPE_CHECKING:
    from nnunetv2_textguided.inference.patient import LoadedModel, Result

_STYLE = """
@page { size: A4; margin: 14mm } body { font: 10pt/1.4 system-ui, sans-serif; max-width: 190mm; margin: 6mm auto }
h1 { font-size: 15pt; margin: 0 } h2 { font-size: 11pt; margin: 5mm 0 1mm } img { max-width: 100%; max-height: 120mm }
table { border-collapse: collapse; width: 100% }
th, td { text-align: right; border-bottom: 1px solid #bbb; padding: 2px 6px }
th:first-child, td:first-child { text-align: left } .limits { border: 2px solid #a00; padding: 2mm 3mm; margin: 3mm 0 }
"""
_COLUMNS = (
    ("candidate", "lesion", "{}"),
    ("volume_ml", "volume (mL)", "{:.2f}"),
    ("diameter_mm", "diameter (mm)", "{:.0f}"),
    ("confidence", "confidence", "{:.2f}"),
    ("key_slice", "key slice", "{}"),
    ("zone", "zone", "{}"),
)
LIMITS = (
    "For research use only; not a medical device, not for diagnosis. Confidence and likelihood are the model's own "
    "numbers: they rank findings and are no probabilities of cancer. What the model was not trained on (other "
    "scanners, sequences, patients) it may get wrong with high confidence."
)


def write_report(path: Path, result: Result, name: str, loaded: LoadedModel) -> None:
    """Write the page; key slices come from the overlays that lie beside it.

    Args:
        path: the file.
        result: what was found.
        name: of the case.
        loaded: the model that found it.
    """
    model = loaded.session.model
    overlay = path.parent / places.OVERLAYS / f"{name}.png"
    picture = ""
    if overlay.is_file():
        data = base64.b64encode(overlay.read_bytes()).decode("ascii")
        picture = (
            f'<h2>Key slices</h2><img alt="Key slices with the lesions outlined" src="data:image/png;base64,{data}">'
        )
    facts = [
        f"Folds {', '.join(map(str, model.folds or ()))}, {model.checkpoint}",
        f"nnunetv2-textguided {__version__}",
    ]
    notes = [*result.decisions, *result.remarks]
    likelihood = "" if result.likelihood is None else f"<p>Likelihood by the image: <b>{result.likelihood:.3f}</b></p>"
    if result.combined is not None:
        likelihood += f"<p>Likelihood by {' + '.join(result.combined_from)}: <b>{result.combined:.3f}</b></p>"
    body = (
        f"<h1>{escape(name)}</h1>{likelihood}<div class=limits>{escape(LIMITS)}</div>"
        f"<h2>Lesions</h2>{_table(result)}{picture}"
        f"<h2>Input</h2><ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>"
        f"<h2>Model</h2><p>{escape(str(model.folder.name))} of {escape(model.folder.parent.name)}<br>"
        f"{escape('; '.join(facts))}</p>"
    )
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(name)}</title><style>{_STYLE}</style>"
    write_text(path, f"{head}<body>{body}</body></html>\n")


def _table(result: Result) -> str:
    if not result.lesions:
        return "<p>No lesion was found.</p>"
    columns = [column for column in _COLUMNS if any(lesion.get(column[0]) is not None for lesion in result.lesions)]
    head = "".join(f"<th>{escape(title)}</th>" for _, title, _ in columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(form.format(lesion[key]))}</td>" for key, _, form in columns) + "</tr>"
        for lesion in result.lesions
    )
    return f"<table><tr>{head}</tr>{rows}</table>"
