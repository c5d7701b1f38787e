"""Text encoders by name: `biomedclip`, `minilm`, `local:DIR`. There is no fall-back from one to another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunetv2_textguided.errors import EncoderError
from nnunetv2_textguided.text.encoder import TextEncoder

NAMES = ("biomedclip", "minilm", "local:DIR")
_NAMED = {
    "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224": "biomedclip",
    "sentence-transformers/all-MiniLM-L6-v2": "minilm",
}


def encoder_name(identity: Mapping[str, Any]) -> str | None:
    """What an encoder of this identity is called; None: only its folder can be named."""
    return _NAMED.get(str(identity.get("id")))


def load_encoder(name: str) -> TextEncoder:
    """The encoder called `name`.

    Raises:
        EncoderError: there is no such encoder, or it cannot be had; says what to do.
    """
    if name == "biomedclip":
        from nnunetv2_textguided.text.encoder_open_clip import biomedclip

        return biomedclip()
    if name == "minilm":
        from nnunetv2_textguided.text.encoder_transformers import minilm

        return minilm()
    if name.startswith("local:"):
        return _load_local(Path(name.removeprefix("local:")).expanduser())
    raise EncoderError(
        f"There is no text encoder {name!r}.", where="--encoder", remedy=f"Use one of {', '.join(NAMES)}."
    )


def _load_local(folder: Path) -> TextEncoder:
    from nnunetv2_textguided.text import encoder_open_clip, encoder_transformers
    from nnunetv2_textguided.text.known import identify

    if not folder.is_dir():
        raise EncoderError("The model folder does not exist.", where=folder, remedy="Check the path after 'local:'.")
    if (folder / encoder_open_clip.CONFIG).is_file():
        return encoder_open_clip.OpenClipEncoder(folder, **identify(folder, encoder_open_clip.WEIGHTS))
    if (folder / "config.json").is_file():
        return encoder_transformers.TransformersEncoder(folder, **identify(folder, encoder_transformers.WEIGHTS))
    raise EncoderError(
        f"The folder holds no model: neither {encoder_open_clip.CONFIG} (open_clip) nor config.json (transformers).",
        where=folder,
        remedy="Fetch the whole repository into it (docs/text.md).",
    )
