"""Where embeddings come from: encoder identity, library versions, command. Written into every embedding file."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from typing import Any

from nnunetv2_textguided import __version__

_LIBRARIES = ("torch", "transformers", "tokenizers", "open_clip_torch", "safetensors", "numpy")


def make_provenance(identity: Mapping[str, Any], *, command: str, note: str | None = None) -> dict[str, Any]:
    """Provenance of embeddings made here and now. It holds no date, so that equal inputs give equal files.

    Args:
        identity: TextEncoder.identity.
        command: what was typed.
        note: a caveat that users of the file should read.
    """
    versions = {"nnunetv2-textguided": __version__, "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue  # not every encoder needs every library
    provenance: dict[str, Any] = {"encoder": dict(identity), "versions": versions, "command": command}
    if note:
        provenance["note"] = note
    return provenance
