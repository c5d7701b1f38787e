"""Versions of the software that made a file or a model, for its provenance."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence

from nnunetv2_textguided import __version__

KEY = "text_guidance_software"
"""Key of nnU-Net's plans under which a training records the versions that it ran with."""
TRAINING = ("nnunetv2", "dynamic-network-architectures", "torch", "numpy")
ENCODING = ("torch", "transformers", "tokenizers", "open_clip_torch", "safetensors", "numpy")


def software_versions(libraries: Sequence[str] = TRAINING) -> dict[str, str]:
    """Versions of this package, of Python and of those `libraries` that are installed."""
    versions = {"nnunetv2-textguided": __version__, "python": platform.python_version()}
    for library in libraries:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue  # an optional one
    return versions
