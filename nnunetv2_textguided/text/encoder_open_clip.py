"""BiomedCLIP and other open_clip models with a Hugging Face text tower. Only the text tower is built or read."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_textguided.errors import EncoderError
from nnunetv2_textguided.text.encoder import Encoded, batches, join_tokens, need_transformers, tokenize
from nnunetv2_textguided.text.hub import snapshot
from nnunetv2_textguided.text.known import identify
from nnunetv2_textguided.text.model_folder import (
    TOKENIZER_FILES,
    check_keys,
    check_tokenizer,
    folder_hashes,
    read_config,
    require_file,
)

CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
BIOMEDCLIP_ID = "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"
BIOMEDCLIP_REVISION = "9f341de24bfb00180f1b847274256e9b65a3a32e"
# This revision has its weights as a (zip) pickle only; they are read with torch's weights_only unpickler.
BIOMEDCLIP_FILES = (CONFIG, "open_clip_pytorch_model.bin")
BIOMEDBERT_ID = "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract"
BIOMEDBERT_REVISION = "d673b8835373c6fa116d6d8006b33d48734e305d"
BIOMEDBERT_FILES = ("config.json", "vocab.txt")
_FETCH = "Fetch the folder again, or copy it completely (docs/text.md)."


class OpenClipEncoder:
    """The text tower (HFTextEncoder) of an open_clip CustomTextCLIP, loaded from a folder.

    Tokens are projected into the joint image-text space, where the pooled embedding lives.

    Args:
        folder: open_clip_config.json and the weights.
        text_folder: config.json and tokenizer of the text model, which open_clip's config only names by its hub id.
            None: looked for in `folder`, in a folder of the text model's name in or beside it.
        model_id: what to call it in the provenance.
        revision: which version of it.
        licence: its licence.

    Raises:
        EncoderError: files are missing, damaged, or do not fit each other.
    """

    def __init__(
        self, folder: Path, text_folder: Path | None = None, *, model_id: str, revision: str, licence: str
    ) -> None:
        need_transformers()
        config: Any = read_config(folder, CONFIG).get("model_cfg")
        text, weights = _text_config(config, folder), require_file(folder, *WEIGHTS)
        text_folder = text_folder or _find_text_folder(folder, text["hf_model_name"])
        self._model = _build_tower(text, config["embed_dim"], text_folder)
        _load_weights(self._model, weights, needs_pooler=text["hf_pooler_type"] == "cls_pooler")
        self._tokenizer = _load_tokenizer(text, text_folder, self._model.config.vocab_size)
        self._max_tokens = _context_length(text, self._model.config, folder)
        hashes = folder_hashes(text_folder / "config.json", weights, text_folder)
        self.identity: dict[str, Any] = {
            "id": model_id,
            "revision": revision,
            "licence": licence,
            "pooling": f"{text['hf_pooler_type']}, projected ({text.get('hf_proj_type')}) to {config['embed_dim']}",
            "normalisation": "L2",
            "sha256": {**folder_hashes(folder / CONFIG, weights, folder), **hashes},
            "text_model": text["hf_model_name"],
        }

    def encode(self, prompts: Sequence[str]) -> Encoded:
        """Embed `prompts`; see TextEncoder."""
        import torch

        clean = [self._tokenizer.clean_fn(prompt) for prompt in prompts]
        pooled, tokens = [], []
        for batch in batches(clean):
            ids, mask = tokenize(self._tokenizer.tokenizer, batch, self._max_tokens)
            with torch.inference_mode():
                sentence, hidden = self._model(ids)
                projected = self._model.proj(hidden)
            pooled.append(sentence.numpy())
            tokens += [h[m.bool()].numpy() for h, m in zip(projected, mask, strict=True)]
        return join_tokens(np.concatenate(pooled), tokens)


def biomedclip() -> OpenClipEncoder:
    """BiomedCLIP at its pinned revision, from the hub's cache or the hub.

    Raises:
        EncoderError: one of its two repositories cannot be had (the error says which), or a file differs.
    """
    folder = snapshot(BIOMEDCLIP_ID, BIOMEDCLIP_REVISION, BIOMEDCLIP_FILES, needs="BiomedCLIP's weights")
    text_folder = snapshot(
        BIOMEDBERT_ID,
        BIOMEDBERT_REVISION,
        BIOMEDBERT_FILES,
        needs="config and tokenizer of BiomedCLIP's text tower",
        optional=("tokenizer_config.json",),
    )
    return OpenClipEncoder(folder, text_folder, **identify(folder, WEIGHTS, expect=BIOMEDCLIP_ID))


def _text_config(config: Any, folder: Path) -> dict[str, Any]:
    whole = config if isinstance(config, dict) else {}
    text = whole.get("text_cfg")
    if not isinstance(text, dict) or not text.get("hf_model_name") or not isinstance(whole.get("embed_dim"), int):
        raise EncoderError(
            "Only open_clip models with a Hugging Face text tower (text_cfg.hf_model_name) are supported.",
            where=folder / CONFIG,
            remedy="Use such a model, or a transformers model.",
        )
    if text.get("tokenizer_mode"):
        raise EncoderError(f"tokenizer_mode {text['tokenizer_mode']!r} is not supported.", where=folder / CONFIG)
    return {"hf_pooler_type": "mean_pooler", **{k: v for k, v in text.items() if v is not None}}


def _find_text_folder(folder: Path, hub_id: str) -> Path:
    """Where config.json and tokenizer of the text model are: see OpenClipEncoder."""
    name = hub_id.rsplit("/", 1)[-1]
    candidates = [folder, folder / name, folder.parent / name]
    for candidate in candidates:
        if (candidate / "config.json").is_file() and any((candidate / n).is_file() for n in TOKENIZER_FILES):
            return candidate
    raise EncoderError(
        f"The config and tokenizer of the text tower ({hub_id}) are not there.",
        where=", ".join(map(str, candidates)),
        remedy=f"open_clip's config only names that repository. Fetch it too: `hf download {hub_id} config.json "
        f"tokenizer_config.json vocab.txt --local-dir {candidates[-1]}`.",
    )


def _build_tower(text: dict[str, Any], embed_dim: int, text_folder: Path) -> Any:
    from open_clip.hf_model import HFTextEncoder
    from transformers import AutoConfig

    require_file(text_folder, "config.json")
    try:
        config = AutoConfig.from_pretrained(str(text_folder), local_files_only=True, trust_remote_code=False)
        tower = HFTextEncoder(
            str(text_folder),
            output_dim=embed_dim,
            config=config,
            pooler_type=text["hf_pooler_type"],
            proj_type=text.get("hf_proj_type"),
            pretrained=False,
            output_tokens=True,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise EncoderError(f"The text tower cannot be built: {e!r}.", where=text_folder, remedy=_FETCH) from e
    return tower.eval()


def _load_weights(tower: Any, weights: Path, *, needs_pooler: bool) -> None:
    state = {key.removeprefix("text."): value for key, value in _read_text_tensors(weights).items()}
    shapes = {key: value.shape for key, value in tower.state_dict().items()}
    wrong = [key for key in state if key in shapes and shapes[key] != state[key].shape]
    # The BERT pooler is built but only used by `cls_pooler`; position_ids are constants of older transformers.
    allowed = () if needs_pooler else ("transformer.pooler.",)
    lost = [*(key for key in shapes if key not in state), *wrong]
    check_keys(lost, [key for key in state if key not in shapes], allowed, ("position_ids", *allowed), weights)
    tower.load_state_dict(state, strict=False)


def _read_text_tensors(weights: Path) -> dict[str, Any]:
    """The tensors of the text tower; the vision tower's stay on disk."""
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        if weights.suffix == ".safetensors":
            with safe_open(weights, framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys() if key.startswith("text.")}  # noqa: SIM118
        # weights_only refuses whatever is not a plain tensor. Files of the old (non-zip) format cannot be mapped.
        state = torch.load(weights, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(weights))
        return {key: value for key, value in state.items() if key.startswith("text.")}
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, AttributeError, pickle.UnpicklingError) as e:
        raise EncoderError(f"The weights cannot be read: {e}.", where=weights, remedy=_FETCH) from e


def _load_tokenizer(text: dict[str, Any], text_folder: Path, vocabulary: int) -> Any:
    from open_clip.tokenizer import HFTokenizer

    require_file(text_folder, *TOKENIZER_FILES)
    options = text.get("tokenizer_kwargs") or {}
    try:
        tokenizer = HFTokenizer(str(text_folder), local_files_only=True, **options)
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise EncoderError(f"The tokenizer cannot be read: {e}.", where=text_folder, remedy=_FETCH) from e
    check_tokenizer(tokenizer.tokenizer, vocabulary, text_folder)
    return tokenizer


def _context_length(text: dict[str, Any], config: Any, folder: Path) -> int:
    length, limit = text.get("context_length"), getattr(config, "max_position_embeddings", 0)
    if not isinstance(length, int) or not 0 < length <= limit:
        raise EncoderError(
            f"The context length is {length!r}, which the text tower's {limit} positions do not allow.",
            where=folder / CONFIG,
            remedy=f"text_cfg.context_length must be stated (BiomedCLIP: 256). {_FETCH}",
        )
    return length
