"""Embed the prompts of a data set's labels: the one step that needs a text encoder."""

from __future__ import annotations

from collections.abc import Sequence

from nnunetv2_textguided.text.choose import choose_bank
from nnunetv2_textguided.text.embeddings import TextEmbeddings
from nnunetv2_textguided.text.encoder import TextEncoder
from nnunetv2_textguided.text.provenance import make_provenance


def encode(
    encoder: TextEncoder, prompts: str | None, labels: Sequence[str], *, tokens: bool = True, command: str = ""
) -> TextEmbeddings:
    """Embeddings of the bank `prompts` (None: the shipped bank that fits, see choose.py) for exactly `labels`.

    Args:
        encoder: a text encoder.
        prompts: name or path of a bank.
        labels: foreground labels or regions.
        tokens: keep the per-token embeddings, which `refiner.tokens = "tokens"` needs.
        command: what was typed, for the provenance.

    Raises:
        PromptBankError: the bank or a label is not valid.
        EncoderError: a prompt is too long for the encoder.
    """
    bank, _ = choose_bank(prompts, labels)
    encoded = encoder.encode(bank.prompts)
    provenance = make_provenance(encoder.identity, command=command)
    if not tokens:
        return TextEmbeddings(bank, encoded.pooled, provenance=provenance)
    return TextEmbeddings(bank, encoded.pooled, encoded.tokens, encoded.token_prompt, provenance)
