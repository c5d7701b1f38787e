"""The text of anything that has one: a shipped bank, a bank file, a data set, plans, an embedding file, a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nnunetv2_textguided.errors import DataError, EmbeddingFileError
from nnunetv2_textguided.files import read_json
from nnunetv2_textguided.nnunet.datasets import dataset_name, read_description
from nnunetv2_textguided.settings import BLOCK, ResolvedText, TextSettings
from nnunetv2_textguided.settings.presets import resolve
from nnunetv2_textguided.text.bank import PromptBank, bank_names, load_bank
from nnunetv2_textguided.text.dataset import embedding_path, prompted_names
from nnunetv2_textguided.text.embeddings import TextEmbeddings, read_embeddings
from nnunetv2_textguided.text.packaged import SOURCE, packaged_embeddings, packaged_rows, phrase_key
from nnunetv2_textguided.text.resolve import bank_of, resolve_text


class TextSource(NamedTuple):
    """What was found.

    Args:
        kind: what the source is, in words.
        origin: where prompts and embeddings come from.
        bank: the prompts.
        embeddings: their embeddings, if there are any.
        encoder: the encoder's identity, if one is known.
    """

    kind: str
    origin: str
    bank: PromptBank
    embeddings: TextEmbeddings | None
    encoder: dict[str, Any] | None


def open_source(name: str, *, configuration: str | None = None, prompts: str | None = None) -> TextSource:
    """The text of `name`: a shipped bank's name, a data set's id or name, or a path.

    Args:
        name: path of a prompt bank, dataset.json, plans (.json), embedding file (.safetensors), checkpoint (.pth) or
            model folder; else a shipped bank or a data set.
        configuration: which configuration of plans; None: the one with a `text_guidance` block, or 3d_fullres.
        prompts: for a data set or dataset.json, the bank to use instead of the one that training would choose.

    Raises:
        TextGuidedError: there is no such thing, it is not valid, or it has no text.
    """
    path = Path(name)
    if path.is_dir():
        return _from_model_folder(path)
    if path.suffix == ".safetensors":
        embeddings = read_embeddings(path)
        return TextSource("embedding file", name, embeddings.bank, embeddings, embeddings.encoder)
    if path.suffix in (".pth", ".pt"):
        return _from_checkpoint(path)
    if path.suffix == ".json" and path.exists():
        return _from_json(path, configuration, prompts)
    if name in bank_names() or path.suffix == ".json":
        return _from_bank(load_bank(name), "prompt bank", name)
    return _from_dataset(dataset_name(name, where=f"{name!r} is no file and no shipped bank"), prompts)


def embed_with(source: TextSource, encoder: str) -> TextSource:
    """The same prompts embedded by another encoder, now.

    Raises:
        EncoderError: the encoder cannot be had.
    """
    from nnunetv2_textguided.text.encoders import load_encoder
    from nnunetv2_textguided.text.provenance import make_provenance

    loaded = load_encoder(encoder)
    provenance = make_provenance(loaded.identity, command="prompts")
    embeddings = TextEmbeddings(source.bank, loaded.encode(source.bank.prompts).pooled, provenance=provenance)
    return source._replace(embeddings=embeddings, encoder=embeddings.encoder)


def _from_bank(bank: PromptBank, kind: str, origin: str) -> TextSource:
    """A bank alone has embeddings only if the packaged file knows all of its prompts."""
    table, known = packaged_embeddings(), packaged_rows()
    rows = [known.get(phrase_key(prompt)) for prompt in bank.prompts]
    found = [row for row in rows if row is not None]
    if not rows or len(found) < len(rows):
        return TextSource(kind, origin, bank, None, None)
    return TextSource(kind, f"{origin}; {SOURCE}", bank, table.select(bank, found), table.encoder)


def _from_dataset(dataset: str, prompts: str | None) -> TextSource:
    content, path = read_description(dataset)
    labels = prompted_names(content, path, anatomy=resolve(None).alignment.anatomy)
    return _resolved(TextSettings(prompts=prompts), labels, embedding_path(dataset).parent, dataset)


def _resolved(settings: TextSettings, labels: list[str], folder: Path | None, kind: str) -> TextSource:
    embeddings, resolved = resolve_text(settings, labels, folder, want_tokens=False)
    return TextSource(f"data set {kind}", resolved.source, embeddings.bank, embeddings, embeddings.encoder)


def _from_json(path: Path, configuration: str | None, prompts: str | None) -> TextSource:
    content = read_json(path, error=DataError)
    if isinstance(content, dict) and "configurations" in content:
        return _from_plans(path, content, configuration)
    if isinstance(content, dict) and ("channel_names" in content or "file_ending" in content):
        labels = prompted_names(content, path, anatomy=resolve(None).alignment.anatomy)
        folder = path.parent if (path.parent / "text_embeddings.safetensors").exists() else None
        return _resolved(TextSettings(prompts=prompts), labels, folder, str(path))
    return _from_bank(load_bank(str(path)), "prompt bank", str(path))


def _from_plans(path: Path, plans: dict[str, Any], configuration: str | None) -> TextSource:
    configurations = plans["configurations"]
    if not isinstance(configurations, dict) or not all(isinstance(c, dict) for c in configurations.values()):
        raise DataError("The plans' 'configurations' are no JSON objects.", where=path)
    name = configuration or _choose(configurations)
    if name not in configurations:
        raise DataError(f"The plans have no configuration {name!r}.", where=path, remedy=f"One of {[*configurations]}.")
    block = _inherited_block(configurations, name)
    complete = resolve(block, where=f"{path}, {name}, {BLOCK}")
    settings = complete.text
    if settings.resolved is not None:
        return _from_resolved(settings.resolved, f"plans, configuration {name}", None)
    dataset_json = path.parent / "dataset.json"
    described = read_json(dataset_json, error=DataError)
    labels = prompted_names(described, dataset_json, anatomy=complete.alignment.anatomy)
    return _resolved(settings, labels, path.parent, f"of the plans, configuration {name}")


def _inherited_block(configurations: dict[str, Any], name: str) -> Any:
    """The block of a configuration. nnU-Net's `inherits_from` takes a nested block over whole or not at all."""
    seen: set[str] = set()
    parent: Any = name
    while isinstance(parent, str) and parent in configurations and parent not in seen:
        seen.add(parent)
        if BLOCK in configurations[parent]:
            return configurations[parent][BLOCK]
        parent = configurations[parent].get("inherits_from")
    return None


def _choose(configurations: dict[str, Any]) -> str:
    with_block = [name for name, value in configurations.items() if BLOCK in value]
    usual = [name for name in ("3d_fullres", *configurations) if name in configurations]
    return (with_block or usual or ["3d_fullres"])[0]


def _from_checkpoint(path: Path) -> TextSource:
    from nnunetv2_textguided.nnunet.checkpoints import read_checkpoint

    content = read_checkpoint(path)
    try:
        block = content["init_args"]["plans"]["configurations"][content["init_args"]["configuration"]].get(BLOCK)
    except (KeyError, TypeError, AttributeError) as e:
        raise DataError(
            f"The checkpoint's plans are incomplete: {e!r}.", where=path, remedy="It is damaged; copy it again."
        ) from e
    settings = resolve(block, where=path).text if block is not None else None
    if settings is None or settings.resolved is None:
        raise DataError(
            "This model was trained without text.", where=path, remedy="Name one that was trained with text."
        )
    source = f"checkpoint ({content.get('trainer_name')}, control: {settings.control})"
    return _from_resolved(settings.resolved, source, content["network_weights"].get("text_embeddings"))


def _from_resolved(resolved: ResolvedText, kind: str, weights: Any) -> TextSource:
    """Embeddings as the network has them: controls replace them, and the learned ones are of any length."""
    bank, embeddings = bank_of(resolved), None
    if weights is not None:
        rows = weights.float().numpy() if hasattr(weights, "float") and weights.ndim == 2 else np.zeros((0, 1))
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        if rows.shape[:1] != (len(bank.prompts),) or not np.isfinite(norms).all() or (norms == 0).any():
            raise EmbeddingFileError("The checkpoint's embeddings do not belong to its prompts.", where=kind)
        try:
            embeddings = TextEmbeddings(bank, rows / norms, provenance={"encoder": resolved.encoder})
        except EmbeddingFileError as e:
            raise EmbeddingFileError(e.what, where=kind, remedy=e.remedy) from e
    return TextSource(kind, resolved.source, bank, embeddings, resolved.encoder)


def _from_model_folder(folder: Path) -> TextSource:
    names = ("checkpoint_final.pth", "checkpoint_best.pth", "checkpoint_latest.pth")
    folds = [folder, *sorted(folder.glob("fold_*"))]
    found = [fold / name for name in names for fold in folds if (fold / name).is_file()]
    if found:
        return _from_checkpoint(found[0])
    if (folder / "plans.json").is_file():
        return _from_json(folder / "plans.json", None, None)
    raise DataError("The folder holds no model: no plans.json and no fold_X/checkpoint_*.pth.", where=folder)
