"""Where embeddings come from: encoder identity, library versions, command. Written into every embedding file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnunetv2_textguided.software import ENCODING, software_versions


def make_provenance(identity: Mapping[str, Any], *, command: str, note: str | None = None) -> dict[str, Any]:
    """Provenance of embeddings made here and now. It holds no date, so that equal inputs give equal files.

    Args:
        identity: TextEncoder.identity.
        command: what was typed.
        note: a caveat that users of the file should read.
    """
    provenance = {"encoder": dict(identity), "versions": software_versions(ENCODING), "command": command}
    return {**provenance, "note": note} if note else provenance
