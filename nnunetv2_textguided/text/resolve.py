"""Which embeddings a training uses, decided from settings, labels and files alone: numpy only, no text encoder.

Order: the file that the settings name; else `text_embeddings.safetensors` in the data set's nnUNet_preprocessed
folder; else the packaged file. Nothing is guessed in silence: whatever is not exactly what was asked for is an error,
and what was chosen is logged.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_textguided.errors import EmbeddingFileError
from nnunetv2_textguided.files import file_sha256
from nnunetv2_textguided.settings import ResolvedText, TextSettings
from nnunetv2_textguided.text.bank import PromptBank, load_bank
from nnunetv2_textguided.text.choose import choose_bank
from nnunetv2_textguided.text.embeddings import ENCODER_KEYS, TextEmbeddings, read_embeddings
from nnunetv2_textguided.text.packaged import (
    PACKAGED,
    SOURCE,
    hashed_code,
    packaged_embeddings,
    packaged_rows,
    phrase_key,
)

FILE_NAME = "text_embeddings.safetensors"
"""The data set's own embedding file, in its nnUNet_preprocessed folder."""
_LOG = logging.getLogger(__name__)


def resolve_text(
    settings: TextSettings,
    labels: Sequence[str],
    dataset_folder: str | Path | None,
    *,
    want_tokens: bool,
    want_words: bool = False,
) -> tuple[TextEmbeddings, ResolvedText]:
    """Embeddings of exactly `labels`, in this order, and of the context prompts.

    Args:
        settings: `text` of the plans' block. If `settings.resolved` is filled in (a training is continued), what is
            found must agree with it.
        labels: foreground labels or regions of dataset.json, in nnU-Net's order.
        dataset_folder: nnUNet_preprocessed/DatasetXXX_Name; None if there is none.
        want_tokens: whether per-token embeddings of the prompts are needed.
        want_words: whether location phrases are read, by their tokens where the file has them.

    Raises:
        EmbeddingFileError: a file is damaged, stale, or does not have what is asked for; says what differs.
        PromptBankError: `settings.prompts` is no valid bank.
    """
    path, word_dim = _find_file(settings, dataset_folder), 0
    if path is None:
        embeddings, source, sha256 = _from_package(settings, labels), SOURCE, file_sha256(PACKAGED)
    else:
        stored = read_embeddings(path)
        embeddings, source, sha256 = _from_file(path, stored, settings, labels), str(path), file_sha256(path)
        if want_words and "phrase" in stored.tables:
            word_dim = stored.tables["phrase"].word_dim
    embeddings = _with_tokens(embeddings, source) if want_tokens else _without_tokens(embeddings)
    resolved = _describe(embeddings, source, sha256, word_dim)
    if settings.resolved is not None:
        _check_unchanged(settings.resolved, resolved)
    _LOG.info("Text: bank '%s', %s", embeddings.bank.name, source)
    return embeddings, resolved


def _find_file(settings: TextSettings, dataset_folder: str | Path | None) -> Path | None:
    if settings.embeddings is not None:
        return Path(settings.embeddings)
    path = Path(dataset_folder) / FILE_NAME if dataset_folder is not None else None
    return path if path is not None and path.exists() else None


def _from_file(path: Path, stored: TextEmbeddings, settings: TextSettings, labels: Sequence[str]) -> TextEmbeddings:
    """The rows of a data set's embedding file for `labels`."""
    unnamed = [label for label in labels if label not in stored.bank.match(labels)]
    if unnamed:
        raise EmbeddingFileError(
            f"The embedding file has no prompts for the label{'s' * (len(unnamed) > 1)} {', '.join(unnamed)}; it knows "
            f"{', '.join(stored.bank.labels) or 'none'}.",
            where=path,
            remedy="Run `nnUNetv2_textguided encode` for this data set (again, if its labels changed).",
        )
    bank = stored.bank.for_labels(labels)
    if settings.prompts is not None:
        wanted = load_bank(settings.prompts).for_labels(labels)
        if wanted.sha256 != bank.sha256:
            raise EmbeddingFileError(
                f"The embedding file is stale: its prompts are not those of the bank {settings.prompts!r}. "
                + "; ".join(describe_difference(bank, wanted)),
                where=path,
                remedy=f"Run `nnUNetv2_textguided encode --prompts {settings.prompts}`, or remove text.prompts from "
                "the settings to use the file as it is.",
            )
    matched = stored.bank.match(labels)
    rows = [row for label in labels for row, i in _rows(stored.bank) if stored.bank.labels[i] == matched[label]]
    rows += [row for row, i in enumerate(stored.bank.prompt_label) if i < 0]
    return stored.select(bank, rows)


def _rows(bank: PromptBank) -> list[tuple[int, int]]:
    return [(row, i) for row, i in enumerate(bank.prompt_label) if i >= 0]


def _from_package(settings: TextSettings, labels: Sequence[str]) -> TextEmbeddings:
    """Embeddings of the chosen bank from the packaged table of phrases; hashed codes for unknown label names."""
    bank, named = choose_bank(settings.prompts, labels)
    table, known = packaged_embeddings(), packaged_rows()
    rows, unknown = [], []
    for prompt, index in zip(bank.prompts, bank.prompt_label, strict=True):
        row = known.get(phrase_key(prompt))
        if row is not None:
            rows.append(table.pooled[row])
        elif index < 0 or labels[index] in named:
            raise EmbeddingFileError(
                f"The small embedding file in the package has no embedding of {prompt!r} (bank '{bank.name}').",
                where=f"text.prompts = {settings.prompts!r}",
                remedy="Run `nnUNetv2_textguided encode` for this data set with this bank: that needs a text encoder, "
                "once; training then reads its file.",
            )
        else:
            unknown.append(prompt)
            rows.append(hashed_code(prompt, table.pooled.shape[1]))
    provenance = dict(table.provenance)
    if unknown:
        _LOG.warning(
            "No language embedding is available offline for %s: a hashed code of the spelling stands in, which carries "
            "NO meaning. Run `nnUNetv2_textguided encode` for this data set to use a text encoder.",
            ", ".join(repr(u) for u in unknown),
        )
        provenance["encoder"] = {**table.encoder, "not_language_embeddings": unknown}
    return TextEmbeddings(bank, np.stack(rows), provenance=provenance)


def _with_tokens(embeddings: TextEmbeddings, source: str) -> TextEmbeddings:
    if embeddings.tokens is None:
        raise EmbeddingFileError(
            "The embeddings have no per-token part, which refiner.tokens = 'tokens' needs.",
            where=source,
            remedy="Run `nnUNetv2_textguided encode` for this data set (without --no-tokens), or set refiner.tokens to "
            "'pooled'.",
        )
    return embeddings


def _without_tokens(embeddings: TextEmbeddings) -> TextEmbeddings:
    return TextEmbeddings(embeddings.bank, embeddings.pooled, provenance=embeddings.provenance)


def _describe(embeddings: TextEmbeddings, source: str, sha256: str, word_dim: int) -> ResolvedText:
    tokens = embeddings.tokens
    return ResolvedText(
        source=source,
        file_sha256=sha256,
        prompts_sha256=embeddings.bank.sha256,
        encoder=embeddings.encoder,
        labels=list(embeddings.bank.labels),
        prompts=list(embeddings.bank.prompts),
        prompt_label=list(embeddings.bank.prompt_label),
        embedding_dim=embeddings.pooled.shape[1],
        num_tokens=0 if tokens is None else tokens.shape[0],
        token_dim=0 if tokens is None else tokens.shape[1],
        word_dim=word_dim,
    )


def _check_unchanged(before: ResolvedText, now: ResolvedText) -> None:
    """A training continues only with the words and the encoder it began with.

    Another file with both the same (made by another version of a library, say) is welcome; its hash is for the records.
    """
    differences = []
    if before.prompts_sha256 != now.prompts_sha256:
        differences += describe_difference(bank_of(before), bank_of(now))
    for key in (*ENCODER_KEYS, "not_language_embeddings"):
        if before.encoder.get(key) != now.encoder.get(key):
            differences.append(f"encoder {key}: {_short(before.encoder.get(key))} -> {_short(now.encoder.get(key))}")
    names = ("embedding_dim", "num_tokens", "token_dim", "word_dim")
    then, shape = ([getattr(one, name) for name in names] for one in (before, now))
    if not differences and then != shape:
        differences.append(f"sizes {then} -> {shape}")
    if differences:
        raise EmbeddingFileError(
            "The text differs from what this model was trained with (before -> now): " + "; ".join(differences),
            where=f"{before.source} -> {now.source}",
            remedy="Put the embedding file back that the training began with, or begin a new training.",
        )


def describe_difference(before: PromptBank, now: PromptBank) -> list[str]:
    """What differs between two banks, in words."""
    if list(before.labels) != list(now.labels):
        return [f"labels {list(before.labels)} -> {list(now.labels)}"]
    groups: list[tuple[str, Sequence[str], Sequence[str]]] = [
        (f"prompts of {label}", before.class_prompts[label], now.class_prompts[label]) for label in now.labels
    ]
    groups.append(("context prompts", before.context_prompts, now.context_prompts))
    lines = []
    for group, old, new in groups:
        gone, added = [p for p in old if p not in new], [p for p in new if p not in old]
        if gone:
            lines.append(f"{group}: without {_short(gone)}")
        if added:
            lines.append(f"{group}: with {_short(added)}")
        if list(old) != list(new) and not gone and not added:
            lines.append(f"{group}: in another order, or repeated")
    return lines


def bank_of(resolved: ResolvedText) -> PromptBank:
    """The bank that a model was trained with."""
    prompts = {
        label: tuple(p for p, i in zip(resolved.prompts, resolved.prompt_label, strict=True) if i == index)
        for index, label in enumerate(resolved.labels)
    }
    context = tuple(p for p, i in zip(resolved.prompts, resolved.prompt_label, strict=True) if i < 0)
    return PromptBank("as trained", prompts, context)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:197]}..."
