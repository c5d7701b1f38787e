"""A trained model made ready: its predictor, and the export that belongs to it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.inference.export import Exporter
from nnunetv2_textguided.inference.options import ModelOptions, OutputOptions
from nnunetv2_textguided.inference.predictor import TextGuidedPredictor

LESIONS = ("csPCa", "lesion", "tumour", "tumor", "cancer")
"""Labels whose candidates are listed if none is named, in this order, whatever their case."""


def load_predictor(model: ModelOptions) -> TextGuidedPredictor:
    """The model on its device.

    Raises:
        DataError: the model is not complete, or the device is not there.
    """
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
    predictor.load(model.folder, model.folds, model.checkpoint)
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
