"""A trained model made ready: its predictor, the export that belongs to it, and what is known of its training data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.inference.case_text import CaseTextReader
from nnunetv2_textguided.inference.exchange import exchange_prompts
from nnunetv2_textguided.inference.export import Exporter
from nnunetv2_textguided.inference.gland import gland_labels
from nnunetv2_textguided.inference.lesions import check_candidates
from nnunetv2_textguided.inference.likelihood import read_regressions
from nnunetv2_textguided.inference.options import ModelOptions, OutputOptions
from nnunetv2_textguided.inference.predictor import TextGuidedPredictor
from nnunetv2_textguided.inference.sentence_prior import read_prior
from nnunetv2_textguided.inference.thresholds import offered_thresholds, resolve_thresholds
from nnunetv2_textguided.inference.training_range import TrainingRange, read_training_range
from nnunetv2_textguided.nnunet.plans import image_channels
from nnunetv2_textguided.nnunet.readers import WITHOUT_GEOMETRY
from nnunetv2_textguided.processes.noise import ForeignOutput

LESIONS = ("csPCa", "lesion", "tumour", "tumor", "cancer")
"""Labels whose candidates are listed if none is named, in this order, whatever their case."""


UNCALIBRATED = (
    "WARNING: this model's heatmap was never calibrated (trained with probabilistic oversampling, as preset paper is, "
    "or before there was a calibration): its values rank voxels, but are no probabilities and far too large."
)


@dataclass(frozen=True)
class Session:
    """A model that is ready to predict cases, and where their results go.

    Attributes:
        model: what was asked for.
        predictor: the model on its device.
        exporter: what is written where.
        channels: name of each channel that a case has to have, in order.
        training: what is known of the training data.
        reader: reads what is known of the cases.
        warning: what a reader of the results has to know about all of them; None: nothing.
        foreign: what other libraries say.
    """

    model: ModelOptions
    predictor: TextGuidedPredictor
    exporter: Exporter
    channels: tuple[str, ...]
    training: TrainingRange
    reader: CaseTextReader
    warning: str | None
    foreign: ForeignOutput

    @property
    def ending(self) -> str:
        """The file ending of the model's images and masks."""
        return str(self.predictor.dataset_json["file_ending"])


def open_session(model: ModelOptions, output: OutputOptions, foreign: ForeignOutput | None = None) -> Session:
    """Load a model and check that what is asked for can be had, before any case is read.

    Raises:
        TextGuidedError: model or options are not valid.
    """
    foreign = foreign or ForeignOutput()
    with foreign.capture():
        check_candidates(output.candidates)
        predictor = load_predictor(model)
        warning = None
        if model.prompts is not None or model.embeddings is not None:
            warning = exchange_prompts(predictor, model.prompts, model.embeddings, model.encoder)
        if not model.refiner:
            predictor.switch_off_refiner()
        if output.heatmaps or (output.viewer and predictor.settings is not None and predictor.settings.uses_text):
            predictor.explain()
            if not predictor.calibrated:
                warning = "\n".join(filter(None, (warning, UNCALIBRATED)))
    exporter = make_exporter(predictor, output)
    _check_output(exporter)
    count = image_channels(predictor.plans_manager, predictor.configuration_manager, predictor.dataset_json)
    channels = tuple([*exporter.channels, *(f"channel {i}" for i in range(len(exporter.channels), count))][:count])
    training = read_training_range(model.folder, predictor.folds, channels, predictor.intensities)
    model = replace(model, folds=predictor.folds)
    thresholds = resolve_thresholds(output.threshold, model, predictor.layout.labels)
    exporter = replace(exporter, thresholds=thresholds, fitted=offered_thresholds(model))
    if exporter.label is not None:
        try:
            exporter = replace(exporter, regressions=read_regressions(model))
        except DataError as error:  # the image's own likelihood is there all the same
            warning = "\n".join(filter(None, (warning, f"WARNING: no combined likelihood. {error}")))
    try:
        prior = read_prior(model)
        exporter = replace(exporter, prior=prior if prior and prior.label in predictor.layout.labels else None)
    except DataError as error:  # sentences then do what the network makes of them
        warning = "\n".join(filter(None, (warning, f"WARNING: no prior of sentences. {error}")))
    reader = CaseTextReader(predictor.settings, model, exporter.regressions)
    return Session(model, predictor, exporter, channels, training, reader, warning, foreign)


def _check_output(exporter: Exporter) -> None:
    """Raise DataError for results that this model's cases cannot have."""
    flat = exporter.plans.plans["image_reader_writer"] in WITHOUT_GEOMETRY
    if flat and (exporter.label is not None or exporter.layout.explained):
        raise DataError(
            "Candidates and heatmaps need images that say where their voxels lie, in 3D.",
            where=f"plans: image_reader_writer {exporter.plans.plans['image_reader_writer']}",
            remedy="Use --candidates none, without --heatmaps.",
        )
    output = exporter.output
    if output.outside_gland != "drop" or exporter.label is None or output.zones is not None:
        return
    if not gland_labels(exporter.dataset["labels"], exporter.label):
        raise DataError(
            "Nothing says where the gland is.",
            where="--outside-gland drop",
            remedy="Give zone masks with --zones, or use a model that segments the zones, or --outside-gland mark.",
        )


def load_predictor(model: ModelOptions) -> TextGuidedPredictor:
    """The model on its device.

    Raises:
        DataError: the model is not complete, the step is out of range, or the device is not there.
    """
    if not 0 < model.step_size <= 1:
        raise DataError(f"{model.step_size} is out of range.", where="step_size", remedy="Above 0, at most 1 window.")
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(model.device, False):
        raise DataError(
            f"torch {torch.__version__} finds no device {model.device!r}.",
            where="--device",
            remedy="Use --device cpu, or install a build of torch for this GPU.",
        )
    predictor = TextGuidedPredictor(
        tile_step_size=model.step_size,
        use_mirroring=model.mirroring,
        perform_everything_on_device=model.on_device,
        device=torch.device(model.device),
        allow_tqdm=False,
    )
    predictor.load(model.folder, model.folds, model.checkpoint, model.trust)
    patch = predictor.configuration_manager.patch_size
    if model.step_size * max(patch) < 1:
        raise DataError(
            f"{model.step_size:g} of a window of {' x '.join(map(str, patch))} voxels is less than one voxel.",
            where="-step_size",
            remedy=f"At least {math.ceil(1e3 / max(patch)) / 1e3:g}, so that windows move; nnU-Net's is 0.5.",
        )
    return predictor


def make_exporter(predictor: TextGuidedPredictor, output: OutputOptions) -> Exporter:
    """The export of this model's predictions.

    Raises:
        DataError: there is no label of that name.
    """
    # `picai prepare` calls the ADC channel "CT" to choose a normalisation, and says what it is in channel_contents.
    described = (predictor.dataset_json.get(key) for key in ("channel_contents", "channel_names", "modality"))
    names: dict[str, str] = next(filter(None, described), {})
    return Exporter(
        plans=predictor.plans_manager,
        configuration=predictor.configuration_manager,
        dataset=predictor.dataset_json,
        layout=predictor.layout,
        output=output,
        label=lesion_label(predictor.layout.labels, output),
        channels=tuple(str(names[key]).split(" (")[0] for key in sorted(names, key=int)),
    )


def lesion_label(labels: Sequence[str], output: OutputOptions) -> str | None:
    """The label whose candidates are listed.

    Raises:
        DataError: it has to be named.
    """
    if output.candidates == "none":
        return None
    if output.lesion_label is not None:
        if output.lesion_label in labels:
            return output.lesion_label
        raise DataError(
            f"The model has no label {output.lesion_label!r}.",
            where="--lesion-label",
            remedy=f"One of {', '.join(labels)}.",
        )
    known = {label.casefold(): label for label in labels}
    found = [known[name.casefold()] for name in LESIONS if name.casefold() in known]
    if found or len(labels) == 1:
        return (found or list(labels))[0]
    raise DataError(
        f"Which of the labels {', '.join(labels)} is the lesion?",
        where="--lesion-label",
        remedy="Name it, or use --candidates none.",
    )
