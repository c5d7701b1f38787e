"""A page for reading one patient's result on paper: key slices, lesions, the model and its limits."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunetv2_textguided import __version__
from nnunetv2_textguided.files import write_text
from nnunetv2_textguided.inference import cases as places
from nnunetv2_textguided.inference.overlays import LINE, PANEL
from nnunetv2_textguided.inference.record import weights_of
from nnunetv2_textguided.pages.render import data_uri, render

if TYPE_CHECKING:
    from nnunetv2_textguided.inference.patient import LoadedModel, Result
    from nnunetv2_textguided.text.case_text import CaseText

TEMPLATE = Path(__file__).with_name("patient_report.html.j2")
SHOWN = 3
"""Lesions whose key slices are on the page: more do not fit on one sheet at a size that can be read."""
_COLUMNS = (
    ("candidate", "lesion", "{}"),
    ("confidence", "confidence", "{:.2f}"),
    ("volume_ml", "volume (mL)", "{:.2f}"),
    ("diameter_mm", "diameter (mm)", "{:.0f}"),
    ("key_slice", "key slice", "{}"),
    ("mean_probability", "mean probability", "{:.2f}"),
    ("mean_heatmap", "text heatmap", "{:.2f}"),
    ("zone", "zone", "{}"),
    ("from_text", "from text", "{}"),
)
LIMITS = (
    "not a medical device, not for diagnosis. Confidence and likelihood are the model's own numbers: they rank "
    "findings and are no probabilities of cancer. What the model was not trained on (other scanners, sequences, "
    "patients) it may get wrong with high confidence."
)


def write_report(path: Path, result: Result, name: str, loaded: LoadedModel) -> None:
    """Write the page; key slices come from the overlays that lie beside it.

    Args:
        path: the file.
        result: what was found.
        name: of the case.
        loaded: the model that found it.
    """
    columns = [one for one in _COLUMNS if any(lesion.get(one[0]) is not None for lesion in result.lesions)]
    unlike = [] if result.unlike_training is None else [f"Unlike the training data: {result.unlike_training}"]
    page = render(
        TEMPLATE,
        name=name,
        figures=list(_figures(result)),
        limits=LIMITS,
        warnings=[*result.remarks, *unlike],
        columns=[title for _, title, _ in columns],
        rows=[[_cell(lesion, key, form) for key, _, form in columns] for lesion in result.lesions],
        told=list(_changed(result)),
        slices=_key_slices(path.parent / places.OVERLAYS / f"{name}.png"),
        shown=SHOWN,
        notes=[*_known(result.text), *result.decisions],
        facts=list(_facts(loaded)),
        version=__version__,
    )
    write_text(path, page + "\n")


def _figures(result: Result) -> Iterator[tuple[str, str]]:
    if result.likelihood is not None:
        yield f"{result.likelihood:.3f}", "likelihood by the image"
    if result.combined is not None:
        yield f"{result.combined:.3f}", f"likelihood by {' + '.join(result.combined_from)}"
    yield str(len(result.lesions)), "lesions found" if len(result.lesions) != 1 else "lesion found"
    if result.lesions:
        yield f"{sum(lesion['volume_ml'] for lesion in result.lesions):.2f} mL", "in all"


def _known(text: CaseText) -> Iterator[str]:
    """What was known of the patient, in words."""
    facts = text.clinical
    for name, value, unit in (
        ("PSA", facts.psa_ng_per_ml, "ng/mL"),
        ("age", facts.age_years, "years"),
        ("prostate volume", facts.prostate_volume_ml, "mL"),
    ):
        if value is not None:
            yield f"{name} {value:g} {unit}"
    yield from (f"finding: {sentence}" for sentence in text.findings)


def _changed(result: Result) -> Iterator[tuple[str, str]]:
    """Each sentence that the network was told, and what it changed."""
    for one in (result.text_effect or {}).get("sentences", ()):
        if "contradicted" not in one:
            continue  # no candidates are listed
        verdict = {True: "the image contradicts it", False: "", None: "found nowhere"}[one["contradicted"]]
        change = f"volume {one['volume_change_ml']:+.2f} mL, likelihood {one['likelihood_change']:+.3f}"
        yield one["sentence"], "; ".join(filter(None, (change, verdict)))


def _cell(lesion: Mapping[str, Any], key: str, form: str) -> str:
    value = lesion.get(key)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else form.format(value)


def _key_slices(path: Path) -> str | None:
    """The first rows of the overlays as a URI; None where there are none."""
    if not path.is_file():
        return None
    from PIL import Image

    with Image.open(path) as sheet:
        part = sheet.crop((0, 0, sheet.width, min(sheet.height, SHOWN * (PANEL + LINE))))
    content = io.BytesIO()
    part.save(content, format="PNG", optimize=True)
    return data_uri(content.getvalue(), "image/png")


def _facts(loaded: LoadedModel) -> Iterator[str]:
    """What is known of the model that a reader could ask for."""
    model, predictor = loaded.session.model, loaded.session.predictor
    yield f"{model.folder.name} of {model.folder.parent.name}"
    digests = weights_of(model)
    yield f"{model.checkpoint} of folds " + ", ".join(f"{fold} ({digest})" for fold, digest in digests.items())
    yield f"trained on {predictor.dataset_json.get('numTraining', 'an unknown number of')} cases"
    yield f"channels {', '.join(loaded.channels)}"
    yield "text-guided" if predictor.settings is not None and predictor.settings.uses_text else "without text"
