"""Embed the words of a data set, prompts and sentences: the one step of a training that needs a text encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nnunetv2_textguided.errors import DataError, EncoderError
from nnunetv2_textguided.text.case_text import CaseText
from nnunetv2_textguided.text.choose import choose_bank
from nnunetv2_textguided.text.embeddings import TextEmbeddings
from nnunetv2_textguided.text.encoder import TextEncoder
from nnunetv2_textguided.text.provenance import make_provenance
from nnunetv2_textguided.text.sentence_table import SentenceTable


def encode(
    encoder: TextEncoder,
    prompts: str | None,
    labels: Sequence[str],
    *,
    tokens: bool = True,
    command: str = "",
    tables: Mapping[str, SentenceTable] | None = None,
) -> TextEmbeddings:
    """Embeddings of the bank `prompts` (None: the shipped bank that fits, see choose.py) for exactly `labels`.

    Args:
        encoder: a text encoder.
        prompts: name or path of a bank.
        labels: foreground labels or regions.
        tokens: keep the per-token embeddings, which `refiner.tokens = "tokens"` needs.
        command: what was typed, for the provenance.
        tables: by role (embeddings.ROLES), further sentences that the same encoder has embedded.

    Raises:
        PromptBankError: the bank or a label is not valid.
        EncoderError: a prompt is too long for the encoder.
    """
    bank, _ = choose_bank(prompts, labels)
    encoded = encoder.encode(bank.prompts)
    provenance, tables = make_provenance(encoder.identity, command=command), tables or {}
    if not tokens:
        return TextEmbeddings(bank, encoded.pooled, provenance=provenance, tables=tables)
    return TextEmbeddings(bank, encoded.pooled, encoded.tokens, encoded.token_prompt, provenance, tables)


def embed(encoder: TextEncoder, texts: Sequence[str], *, tokens: bool = True) -> SentenceTable:
    """The different ones of some sentences, embedded; at least one.

    Args:
        encoder: a text encoder.
        texts: sentences.
        tokens: keep the per-token embeddings, from which grounding reads more (docs/case_text.md).

    Raises:
        EncoderError: one is too long for the encoder.
    """
    different = tuple(dict.fromkeys(texts))
    encoded = encoder.encode(different)
    if not tokens:
        return SentenceTable(different, encoded.pooled)
    lengths = np.bincount(encoded.token_prompt, minlength=len(different))
    return SentenceTable(different, encoded.pooled, encoded.tokens, lengths)


def embed_findings(
    encoder: TextEncoder, cases: Mapping[str, CaseText], where: Path, *, tokens: bool = True
) -> SentenceTable | None:
    """The different sentences of the cases' findings, embedded; None where there are none.

    Raises:
        DataError: the encoder cannot read one of them; names file, case and remedy.
    """
    sentences = [sentence for text in cases.values() for sentence in text.findings]
    if not sentences:
        return None
    try:
        return embed(encoder, sentences, tokens=tokens)
    except EncoderError:
        # Which case it is: the encoder knows sentences only.
        for case, text in cases.items():
            for sentence in text.findings:
                _check_readable(encoder, sentence, f"{where}, case {case}")
        raise


def _check_readable(encoder: TextEncoder, sentence: str, where: str) -> None:
    try:
        encoder.encode([sentence])
    except EncoderError as error:
        raise DataError(
            f"The text encoder cannot read a sentence. {error.what}",
            where=f"{where}: {sentence[:60]}...",
            remedy="Shorten it, or split it into several findings, one for each lesion.",
        ) from error
