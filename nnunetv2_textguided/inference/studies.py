"""A cohort of patients, a folder each: DICOM studies, or image files that are called by their channel."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import SimpleITK as sitk

from nnunetv2_textguided.errors import DataError, TextGuidedError
from nnunetv2_textguided.inference.cases import Case
from nnunetv2_textguided.inference.channels import Patient, from_study, gather, option_name
from nnunetv2_textguided.inference.cohort import Cohort
from nnunetv2_textguided.inference.loading import Session
from nnunetv2_textguided.inference.missing import MissingRule, missing_rule
from nnunetv2_textguided.inference.options import WorkOptions
from nnunetv2_textguided.inference.run import Summary, predict_cases

_ENDINGS = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd")


def predict_studies(session: Session, source: Path, work: WorkOptions, missing: str = "error") -> Summary:
    """Predict every patient of a folder of patients' folders; the failures are told at the end.

    Every patient's channels are brought onto the first channel's grid first, in files that are removed after, so that
    memory does not follow the cohort.

    Args:
        session: the model, and what is written where.
        source: holds a folder for each patient; names that start with a dot are none.
        work: how the work is divided.
        missing: "allow" predicts patients who lack a channel, by a model that was trained for it.

    Raises:
        DataError: there is no patient's folder, or the prediction folder holds results of another model.
    """
    folders = sorted(path for path in source.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not folders:
        raise DataError("There is no patient's folder.", where=source, remedy="With --layout studies, a folder each.")
    rule = missing_rule(missing, session.predictor.settings)
    cases: list[Case] = []
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for folder in folders:
            try:
                patient = read_patient(folder, session.channels, rule)
            except TextGuidedError as error:
                failed[folder.name] = str(error)
            else:
                for decision in patient.decisions:
                    print(f"{folder.name}: {decision}")
                cases.append(_kept(patient, folder.name, Path(temporary), session.ending))
        return predict_cases(session, Cohort(cases, failed), str(source), work)


def read_patient(folder: Path, channels: Sequence[str], rule: MissingRule | None = None) -> Patient:
    """One patient's folder: image files called by their channel (t2w.nii.gz, ...), else a DICOM study.

    Raises:
        DataError: a channel is missing and must not be, there twice, or not what it should be.
    """
    named: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        ending = next((end for end in _ENDINGS if path.name.lower().endswith(end)), None)
        if ending is None or path.name.startswith("."):
            continue
        name = option_name(path.name[: -len(ending)])
        fits = (one for one in channels if f"_{name}".endswith(f"_{option_name(one)}"))
        channel = next(fits, None)
        if channel is not None and channel in named:
            raise DataError(f"Two files are called {channel}.", where=folder, remedy="Keep one of them.")
        if channel is not None:
            named[channel] = path
    return gather(named, channels, rule) if named else from_study(folder, channels, rule=rule)


def _kept(patient: Patient, name: str, folder: Path, ending: str) -> Case:
    files = []
    for number, image in enumerate(patient.images):
        files.append(folder / f"{name}_{number:04d}{ending}")
        sitk.WriteImage(image, str(files[-1]))
    return Case(name, tuple(files), patient.missing)
