"""What was asked of which model, written beside the results, and compared before a folder is filled any further."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import read_json, visible, write_json
from nnunetv2_textguided.inference.cases import CASES
from nnunetv2_textguided.inference.options import ModelOptions, OutputOptions, WorkOptions
from nnunetv2_textguided.inference.predictor import TextGuidedPredictor
from nnunetv2_textguided.nnunet.checkpoints import weights_digest

RECORD = "predict_from_raw_data_args.json"
"""nnU-Net's name of the file."""
WEIGHTS = "weights_sha256"
"""Of a record: `weights_of` the model. Records of 0.2 have digests of files, as "weights", which tell less."""
_MODEL = ("folds", "checkpoint", "step_size", "mirroring", "prompts", "embeddings", "encoder", "refiner")
_OUTPUT = ("candidates", "lesion_label", "zones", "outside_gland", "threshold")


def check_same_origin(model: ModelOptions, output: OutputOptions, kept: Collection[str]) -> None:
    """Refuse to put results beside those of another model or of other settings.

    Args:
        model: the model that predicts now.
        output: what is written now.
        kept: the cases in the prediction folder that will stay as they are.

    Raises:
        DataError: they come from another model, or from other settings; names both.
    """
    path = output.folder / RECORD
    if not kept or not path.is_file():
        return
    before = read_json(path, error=DataError)
    old: Mapping[str, Any] = before.get("model", {}) if isinstance(before, dict) else {}
    now = _plain({**asdict(model), WEIGHTS: weights_of(model)})
    differences = [f"{key} was {old[key]}, is {now[key]}" for key in _MODEL if key in old and old[key] != now[key]]
    # A model folder may be moved: its weights tell, where the record has them.
    same = old[WEIGHTS] == now[WEIGHTS] if WEIGHTS in old else old.get("folder") == now["folder"]
    if not same and old.get("folds") == now["folds"]:
        differences.insert(0, f"model was {old.get('folder')}, is {now['folder']}"
                           + (" (trained anew)" if old.get("folder") == now["folder"] else ""))  # fmt: skip
    written, asked = before.get("output", {}), _plain(asdict(output))
    differences += [
        f"{key} was {written[key]}, is {asked[key]}" for key in _OUTPUT if key in written and written[key] != asked[key]
    ]
    if differences:
        raise DataError(
            f"The prediction folder holds {len(kept)} cases of another model or other settings, such as {min(kept)}: "
            f"{'; '.join(differences)}.",
            where=path,
            remedy="Predict into another folder, or remove this one.",
        )


def cases_in(folder: Path) -> set[str]:
    """Cases that have a record in a prediction folder."""
    return {path.stem for path in visible(folder / CASES, "*.json")}


def write_description(
    predictor: TextGuidedPredictor,
    source: str,
    model: ModelOptions,
    output: OutputOptions,
    work: WorkOptions,
    warning: str | None,
) -> None:
    """What nnU-Net writes beside its predictions: the model's plans and dataset.json, and what was asked for."""
    described = {**asdict(model), WEIGHTS: weights_of(model)}
    asked = {"input": source, "model": described, "output": asdict(output), "work": asdict(work)}
    if warning is not None:
        asked["warning"] = warning
    write_json(output.folder / RECORD, _plain(asked))
    write_json(output.folder / "dataset.json", predictor.dataset_json)
    write_json(output.folder / "plans.json", predictor.plans_manager.plans)


def weights_of(model: ModelOptions) -> dict[str, str]:
    """A digest of each fold's weights."""
    paths = {fold: model.folder / f"fold_{fold}" / model.checkpoint for fold in model.folds or ()}
    return {str(fold): weights_digest(path, model.trust) for fold, path in paths.items()}


def fitted_with(model: ModelOptions) -> dict[str, Any]:
    """What a file that is fitted on a model's validation says of the model, for `check_fitted_with`."""
    return {"checkpoint": model.checkpoint, WEIGHTS: weights_of(model)}


def check_fitted_with(content: Mapping[str, Any], model: ModelOptions, path: Path, command: str) -> None:
    """Raise DataError if a file beside a model was fitted with other weights than those that predict now.

    Args:
        content: of the file; where it does not say, as in 0.2, nothing is compared.
        model: the model that predicts.
        path: the file.
        command: the subcommand that fits it.
    """
    there, now = content.get(WEIGHTS), weights_of(model)
    # The weights tell, under whatever name they lie now; of folds that were not validated ("all"), only the name does.
    if isinstance(there, Mapping) and any(
        there[fold] != now[fold] if fold in there else content.get("checkpoint") != model.checkpoint for fold in now
    ):
        raise DataError(
            f"What `{command}` fitted belongs to other checkpoints than those that predict now.",
            where=path,
            remedy=f"Validate with these (--val --npz) and run nnUNetv2_textguided {command} again, or remove it.",
        )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
