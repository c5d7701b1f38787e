"""nnU-Net's three paths, as nnU-Net itself finds them: in the environment."""

from __future__ import annotations

import os
from pathlib import Path

RAW, PREPROCESSED = "nnUNet_raw", "nnUNet_preprocessed"


def nnunet_path(name: str) -> Path | None:
    """The folder that nnU-Net's variable `name` names; None where it is not set."""
    folder = os.environ.get(name)
    return Path(folder) if folder else None
