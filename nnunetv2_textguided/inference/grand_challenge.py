"""The Grand Challenge algorithm: PI-CAI's inputs in, a detection map and a likelihood out, both or neither."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import atomic_path, read_json, visible, visible_below
from nnunetv2_textguided.inference.options import ModelOptions, OutputOptions, WorkOptions

if TYPE_CHECKING:
    import SimpleITK as sitk

    from nnunetv2_textguided.text.case_text import CaseText

INPUTS = {
    "T2W": "transverse-t2-prostate-mri",
    "ADC": "transverse-adc-prostate-mri",
    "HBV": "transverse-hbv-prostate-mri",
}
"""Folder of each scan below /input/images."""
DETECTION_MAP = Path("images", "cspca-detection-map", "cspca_detection_map.mha")
LIKELIHOOD = Path("cspca-case-level-likelihood.json")
CLINICAL = Path("clinical-information-prostate-mri.json")
"""Optional, below /input: what the radiology report says of the patient; what it does not say is missing or null."""
_FACTS = {
    "PSA_report": "psa_ng_per_ml",
    "patient_age": "age_years",
    "prostate_volume_report": "prostate_volume_ml",
}
_CASE = "case"
# `picai prepare` calls the ADC channel "CT" to ask nnU-Net for statistics over the whole data set.
_ALIASES = {"T2": "T2W", "T2W": "T2W", "ADC": "ADC", "CT": "ADC", "HBV": "HBV"}


def detect(
    model: ModelOptions,
    source: Path = Path("/input"),
    target: Path = Path("/output"),
    candidates: str = "dynamic",
) -> float:
    """Detect csPCa in one study as PI-CAI's algorithms do.

    Args:
        model, candidates: the trained model, and how its candidates are extracted.
        source: holds images/transverse-{t2,adc,hbv}-prostate-mri/*.mha, one file each, and perhaps
            clinical-information-prostate-mri.json.
        target: gets images/cspca-detection-map/cspca_detection_map.mha on the T2W grid, and
            cspca-case-level-likelihood.json.

    Returns:
        The case-level likelihood: the largest value of the detection map, or where the model folder has a regression
        on clinical facts (case_likelihood.json) and they are there, what that makes of them and the map.

    Raises:
        TextGuidedError: an input is missing, damaged or of another study, or the model is not complete; nothing was
            written then.
    """
    import SimpleITK as sitk

    from nnunetv2_textguided.inference.likelihood import combined_likelihood, read_regressions

    scans, facts = read_study(source), read_clinical(source / CLINICAL)
    with tempfile.TemporaryDirectory() as work:
        images, results = Path(work, "images"), Path(work, "results")
        write_channels(scans, images, read_json(model.folder / "dataset.json", error=DataError))
        found, likelihood = _predict(model, source, images, OutputOptions(results, candidates=candidates), facts)
    combined = combined_likelihood(read_regressions(model), likelihood, facts) if facts else None
    likelihood = likelihood if combined is None else combined[0]
    # NIfTI keeps a header in single precision; the T2W series' own is exact.
    found.CopyInformation(scans["T2W"])
    with atomic_path(target / DETECTION_MAP) as map_path, atomic_path(target / LIKELIHOOD) as likelihood_path:
        sitk.WriteImage(found, str(map_path), True)
        likelihood_path.write_text(json.dumps(likelihood), encoding="utf-8")
    return likelihood


def _predict(
    model: ModelOptions, source: Path, images: Path, output: OutputOptions, facts: CaseText
) -> tuple[sitk.Image, float]:
    """Detection map and likelihood of the one case in `images`, which is made of `source`.

    Raises:
        DataError: it could not be predicted.
    """
    import SimpleITK as sitk

    from nnunetv2_textguided.inference.cohort import find_cases
    from nnunetv2_textguided.inference.loading import open_session
    from nnunetv2_textguided.inference.run import predict_cases

    session = open_session(model, output)
    cohort = find_cases(images, session.ending, session.channels)
    # The facts reach the network, too, if it was trained with them.
    cases = [replace(case, text=session.reader.accept(facts)[0]) for case in cohort.cases]
    summary = predict_cases(session, replace(cohort, cases=cases), str(images), WorkOptions(preprocessing=0, export=0))
    if summary.failed:
        raise DataError(f"The study could not be predicted. {summary.failed[_CASE]}", where=source)
    found = sitk.ReadImage(str(output.folder / "detection_maps" / f"{_CASE}_detection_map.nii.gz"), sitk.sitkFloat32)
    return found, float(read_json(output.folder / "cases" / f"{_CASE}.json")["case_likelihood"])


def read_study(source: Path) -> dict[str, sitk.Image]:
    """The scans of a study by name, all on the T2W grid, resampled as `picai prepare` resamples.

    Raises:
        DataError: a scan is missing, there is more than one, it is damaged, or does not show the T2W series' anatomy.
    """
    from nnunetv2_textguided.extras import require
    from nnunetv2_textguided.imaging.geometry import check_axial, check_same_anatomy
    from nnunetv2_textguided.imaging.images import read_volume

    paths = {name: _only_file(source / "images" / folder) for name, folder in INPUTS.items()}
    scans = {name: read_volume(path) for name, path in paths.items()}
    check_axial(scans["T2W"], paths["T2W"])
    for name in ("ADC", "HBV"):
        check_same_anatomy(scans[name], scans["T2W"], paths[name])
    preprocessing = require("picai_prep.preprocessing")
    sample = preprocessing.Sample(scans=list(scans.values()), settings=preprocessing.PreprocessingSettings())
    sample.preprocess()
    return dict(zip(scans, sample.scans, strict=True))


def read_clinical(path: Path) -> CaseText:
    """What is known of the patient; nothing where the file is not there.

    Raises:
        DataError: the file is damaged, or a value is none that a patient can have.
    """
    from nnunetv2_textguided.text.case_text import CaseText, parse_entry

    if not path.is_file():
        return CaseText()
    content = read_json(path, error=DataError)
    if not isinstance(content, dict):
        raise DataError("The clinical information is no JSON object.", where=path, remedy="Leave the file out.")
    known = {ours: content[theirs] for theirs, ours in _FACTS.items() if content.get(theirs) is not None}
    return parse_entry({"clinical": known}, str(path))


def _only_file(folder: Path) -> Path:
    found = visible(folder, "*.mha")
    if len(found) == 1:
        return found[0]
    what = "no .mha file" if not found else f"{len(found)} .mha files"
    raise DataError(f"There is {what} where one is expected.", where=folder, remedy="One study, one file per scan.")


def channel_order(dataset: Mapping[str, Any]) -> list[str]:
    """Which scan each of the model's channels is.

    Raises:
        DataError: the model wants something else than T2W, ADC and HBV.
    """
    names = dataset.get("channel_names", {})
    wanted = [_ALIASES.get(str(names[key]).upper(), "") for key in sorted(names, key=int)]
    if sorted(wanted) != sorted(INPUTS):
        raise DataError(
            f"The model's channels are {', '.join(map(str, names.values()))}, not T2W, ADC and HBV.",
            where="dataset.json: channel_names",
            remedy="Export a model that was trained on PI-CAI's three scans.",
        )
    return wanted


def write_channels(scans: Mapping[str, sitk.Image], folder: Path, dataset: Mapping[str, Any]) -> None:
    """Write the scans as the image files of one case of the model's data set."""
    import SimpleITK as sitk

    folder.mkdir(parents=True)
    for channel, name in enumerate(channel_order(dataset)):
        sitk.WriteImage(scans[name], str(folder / f"{_CASE}_{channel:04d}{dataset['file_ending']}"))


def find_model(folder: Path) -> ModelOptions:
    """The model below `folder` (an unpacked nnUNetv2_export_model_to_zip), all of its folds.

    Raises:
        DataError: there is none, or more than one.
    """
    found = [path.parent for path in visible_below(folder, "plans.json") if any(path.parent.glob("fold_*/*.pth"))]
    if len(found) != 1:
        raise DataError(
            f"There are {len(found)} trained models where one is expected.",
            where=folder,
            remedy="Export one configuration with nnUNetv2_export_model_to_zip.",
        )
    checkpoints = sorted(found[0].glob("fold_*/checkpoint_final.pth"))
    folds = [path.parent.name.removeprefix("fold_") for path in checkpoints]
    return ModelOptions(found[0], tuple(fold if fold == "all" else int(fold) for fold in folds))


def main(source: Path = Path("/input"), target: Path = Path("/output")) -> int:
    """The container's entry point; the model lies beside this package, or where the variable MODEL says."""
    import dataclasses
    import os
    import sys

    import torch

    from nnunetv2_textguided.errors import TextGuidedError

    try:
        model = find_model(Path(os.environ.get("MODEL", "/opt/algorithm/model")))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        likelihood = detect(dataclasses.replace(model, device=device), source, target)
    except TextGuidedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"csPCa likelihood {likelihood:.4f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
