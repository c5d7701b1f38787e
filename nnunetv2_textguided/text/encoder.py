"""Text encoder: what every encoder offers, whatever library runs it. Encoders run once, in `encode`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from nnunetv2_textguided.errors import EncoderError


class Encoded(NamedTuple):
    """Embeddings of some prompts.

    Args:
        pooled: (K, D) float32, L2-normalised.
        tokens: (N, T) float32, L2-normalised: all tokens of all prompts, special tokens included, padding left out.
        token_prompt: (N,) int64, the prompt of each token, ascending.
    """

    pooled: np.ndarray
    tokens: np.ndarray
    token_prompt: np.ndarray


class TextEncoder(Protocol):
    """A frozen text encoder.

    `identity` has the keys embeddings.ENCODER_KEYS, in JSON values; embeddings of encoders with different identities
    must never be mixed.
    """

    identity: dict[str, Any]

    def encode(self, prompts: Sequence[str]) -> Encoded:
        """Embed `prompts`.

        Raises:
            EncoderError: a prompt has more tokens than the encoder reads.
        """
        ...


def need_transformers() -> None:
    """Import transformers, or say how to get it.

    Raises:
        EncoderError: it is not installed, or broken (a torchvision that does not fit torch raises RuntimeError).
    """
    try:
        import transformers
    except (ImportError, RuntimeError) as e:
        raise EncoderError(
            f"transformers cannot be imported: {e}.",
            remedy="pip install 'nnunetv2-textguided[text]'. Training needs no encoder: an embedding file made "
            "elsewhere is enough.",
        ) from e
    transformers.utils.logging.disable_progress_bar()


def batches(prompts: Sequence[str], size: int = 32) -> Iterable[Sequence[str]]:
    """`prompts` in batches, with a progress bar where there is a terminal and more than a moment's work."""
    from tqdm import tqdm

    parts = [prompts[start : start + size] for start in range(0, len(prompts), size)]
    return tqdm(parts, desc="encode", unit="batch", leave=False, disable=None if len(parts) > 4 else True)


def tokenize(tokenizer: Any, prompts: Sequence[str], max_tokens: int) -> tuple[Any, Any]:
    """Token ids and attention mask (both (K, L) int64 tensors) of `prompts`, padded to the longest one.

    Raises:
        EncoderError: a prompt is longer than `max_tokens` (tokenizers would cut it silently).
    """
    batch = tokenizer(list(prompts), padding=True, truncation=False, return_tensors="pt", verbose=False)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    lengths = mask.sum(1).tolist()
    longest = max(range(len(prompts)), key=lengths.__getitem__)
    if lengths[longest] > max_tokens:
        raise EncoderError(
            f"A prompt has {lengths[longest]} tokens; the encoder reads {max_tokens}.",
            where=f"{prompts[longest][:60]}...",
            remedy="Shorten it, or split it into several prompts.",
        )
    return ids, mask


def join_tokens(pooled: np.ndarray, tokens: Sequence[np.ndarray]) -> Encoded:
    """L2-normalise pooled rows (K, D) and tokens (list of (L_k, T)), and join the tokens."""
    joined = np.concatenate(tokens)
    index = np.repeat(np.arange(len(tokens)), [len(t) for t in tokens])
    return Encoded(_unit(pooled), _unit(joined), index)


def _unit(rows: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    if not np.isfinite(norms).all() or (norms == 0).any():
        raise EncoderError("The encoder gave a zero or non-finite embedding.", remedy="Its weights are damaged.")
    return (rows / norms).astype(np.float32)
