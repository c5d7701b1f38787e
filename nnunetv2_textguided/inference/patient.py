"""One patient, from Python or from the command line: a loaded model, its channels in, everything that was found out."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import read_json, write_json
from nnunetv2_textguided.inference import cases as places
from nnunetv2_textguided.inference.cases import Case
from nnunetv2_textguided.inference.channels import Patient, Source, gather
from nnunetv2_textguided.inference.cohort import Cohort
from nnunetv2_textguided.inference.grand_challenge import find_model
from nnunetv2_textguided.inference.loading import Session, open_session
from nnunetv2_textguided.inference.missing import MissingRule, missing_rule
from nnunetv2_textguided.inference.options import ModelOptions, OutputOptions, WorkOptions
from nnunetv2_textguided.inference.run import predict_cases
from nnunetv2_textguided.inference.training_range import UNLIKE
from nnunetv2_textguided.nnunet.labels import file_names
from nnunetv2_textguided.text.case_text import CaseText, text_of

DECISIONS = "decisions.json"


@dataclass(frozen=True)
class Result:
    """What was found in one patient. Images are on the grid of the first channel.

    Attributes:
        mask: the predicted labels, as nnU-Net writes them.
        probability: of the lesion; None where the model lists no candidates.
        lesion_numbers: number of the candidate at each voxel, 0 elsewhere; None likewise.
        heatmaps: text-image similarity by label, where they were asked for.
        lesions: the candidates with their measurements, the most confident first.
        likelihood: of the case by the image alone, in [0, 1]; None where the model lists no candidates.
        combined: the likelihood by the model folder's regression on the image and what is known of the patient; None
            where none was fitted.
        combined_from: what that was computed from.
        remarks: what a reader has to know.
        decisions: what was decided about the input.
        unlike_training: in what the patient's images are unlike the training data; None: in nothing that is known.
        text: what was known of the patient beside the images.
        without_text: the mask without it; None where the network was told nothing.
        sentence_maps: where each sentence is, in [0, 1].
        text_effect: what the text changed, sentence by sentence (docs/case_text.md); None likewise.
    """

    mask: sitk.Image
    probability: sitk.Image | None
    lesion_numbers: sitk.Image | None
    heatmaps: Mapping[str, sitk.Image]
    lesions: tuple[Mapping[str, Any], ...]
    likelihood: float | None
    combined: float | None
    combined_from: tuple[str, ...]
    remarks: tuple[str, ...]
    decisions: tuple[str, ...] = field(default=())
    unlike_training: str | None = None
    text: CaseText = field(default_factory=CaseText)
    without_text: sitk.Image | None = None
    sentence_maps: tuple[sitk.Image, ...] = ()
    text_effect: Mapping[str, Any] | None = None


class LoadedModel:
    """A trained model, ready for one patient after another.

    Args:
        model: the model and how it is applied.
        output: what is written; its folder is where `predict` without a folder of its own writes nothing.
    """

    def __init__(self, model: ModelOptions, output: OutputOptions | None = None) -> None:
        self.session: Session = open_session(model, output or OutputOptions(Path(), heatmaps=True, lesion_maps=True))

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that a patient has to have, in order."""
        return self.session.channels

    def rule(self, missing: str) -> MissingRule:
        """Whether this model predicts patients who lack a channel, if `missing` is "allow"."""
        return missing_rule(missing, self.session.predictor.settings)

    def predict(
        self,
        folder: Path | None = None,
        name: str = "case",
        text: CaseText | None = None,
        missing: str = "error",
        finding: str | Sequence[str] = (),
        psa: float | None = None,
        age: float | None = None,
        volume: float | None = None,
        **channels: Source,
    ) -> Result:
        """Predict one patient.

        Args:
            folder: where the files go; None: nowhere.
            name: of the case, which its files are called by.
            text: what is known of the patient, in one: instead of finding, psa, age and volume.
            missing: "allow" predicts without a channel that is absent or constant, by a model that was trained with
                training.channel_dropout.
            finding: a sentence about the patient, or several. The network is told them if it was trained with them
                (docs/case_text.md); they enter the combined likelihood in any case, as do the numbers.
            psa: ng/mL.
            age: years.
            volume: of the prostate, mL.
            channels: one for each of the model's channels, by its name in lower case (t2w=..., adc=..., hbv=...): a
                file, a folder of one DICOM series, a SimpleITK image, or a pair of (z, y, x) values and spacing in mm.

        Raises:
            DataError: a channel is missing or damaged, a number is out of range, or the patient cannot be predicted.
            EncoderError: a sentence has no embedding, and the model's text encoder cannot be had.
        """
        sentences = (finding,) if isinstance(finding, str) else finding
        text = text or text_of(sentences, psa, age, volume, "finding, psa, age, volume")
        return self.predict_patient(gather(channels, self.channels, self.rule(missing)), folder, name, text)

    def predict_patient(
        self, patient: Patient, folder: Path | None = None, name: str = "case", text: CaseText | None = None
    ) -> Result:
        """Predict channels that are gathered already."""
        if folder is None:
            with tempfile.TemporaryDirectory() as temporary:
                return self._predict(patient, Path(temporary), name, text or CaseText())
        return self._predict(patient, Path(folder), name, text or CaseText())

    def _predict(self, patient: Patient, folder: Path, name: str, text: CaseText) -> Result:
        output = replace(self.session.exporter.output, folder=folder)
        session = replace(self.session, exporter=replace(self.session.exporter, output=output))
        told, unread = self.session.reader.accept(text)
        case = Case(name, patient.images, patient.missing, told, text)
        cohort = Cohort([case], {})
        summary = predict_cases(session, cohort, "one patient", WorkOptions(preprocessing=0, export=0))
        if summary.failed:
            raise DataError(f"The patient could not be predicted. {summary.failed[name]}", where=name)
        write_json(folder / DECISIONS, list(patient.decisions))
        return self._result(session, folder, case, patient, text, unread)

    def _result(
        self, session: Session, folder: Path, case: Case, patient: Patient, text: CaseText, unread: Sequence[str]
    ) -> Result:
        name = case.name
        record = read_json(folder / places.CASES / f"{name}.json")

        def image(kind: str) -> sitk.Image | None:
            path = folder / kind / f"{name}.nii.gz"
            return sitk.ReadImage(str(path)) if path.is_file() else None

        labels = session.exporter.layout.labels
        found = {label: image(f"{places.HEATMAPS}/{name}") for label, name in file_names(labels).items()}
        return Result(
            sitk.ReadImage(str(folder / (name + session.ending))),
            image(places.PROBABILITIES),
            image(places.LESIONS),
            {label: heatmap for label, heatmap in found.items() if heatmap is not None},
            tuple(record.get("candidates", ())),
            record.get("case_likelihood"),
            record.get("combined_likelihood"),
            tuple(record.get("combined_from", ())),
            (*record.get("remarks", ()), *unread),
            patient.decisions,
            record["unlike_training"] if (record.get("training_distance") or 0) >= UNLIKE else None,
            text,
            sitk.ReadImage(str(folder / places.WITHOUT_TEXT / (name + session.ending))) if case.text else None,
            tuple(sitk.ReadImage(str(folder / one["map"])) for one in record.get("text", {}).get("sentences", ())),
            record.get("text"),
        )


def load(folder: str | Path, *, device: str = "cpu", candidates: str = "dynamic", **options: Any) -> LoadedModel:
    """Load a trained model folder (or a folder that holds one).

    Args:
        folder: nnU-Net's model folder, with plans.json and fold_X.
        device: "cpu", "cuda" or "mps".
        candidates: how lesion candidates are found: dynamic (PI-CAI's), dynamic-fast, a probability, mask, or none.
        options: more fields of `ModelOptions`, such as folds or mirroring.

    Raises:
        TextGuidedError: the model is not complete, or an option is not valid.
    """
    model = replace(find_model(Path(folder)), device=device, **options)
    maps = candidates != "none"
    return LoadedModel(model, OutputOptions(Path(), candidates=candidates, lesion_maps=maps))
