"""Read nnU-Net checkpoints without executing them: torch's weights_only unpickler with a short allow-list."""

from __future__ import annotations

import functools
import hashlib
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

from nnunetv2_textguided.errors import DataError, TextGuidedError

_TRUST = "Use it with nnU-Net only if you trust whoever made it."
# What the remains of a file may end in.
_UNREADABLE = (
    *(RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError, TypeError, ImportError),
    *(OverflowError, MemoryError, NotImplementedError, AssertionError, zipfile.BadZipFile, struct.error),
)


def read_checkpoint(path: str | Path, remedy: str = _TRUST) -> dict[str, Any]:
    """The content of an nnU-Net checkpoint; tensors stay on disk until they are used.

    Raises:
        DataError: the file is damaged, is no nnU-Net checkpoint, or contains something else; names what.
    """
    content = read_content(path, remedy=remedy)
    parts = content if isinstance(content, dict) else {}
    if not all(isinstance(parts.get(key), dict) for key in ("init_args", "network_weights")):
        raise DataError("The file is no nnU-Net checkpoint.", where=path, remedy="Expected fold_X/checkpoint_*.pth.")
    return parts


def weights_digest(path: Path, trust: bool = False) -> str:
    """A digest of a checkpoint's weights: the same for every file that holds them, as after export and installation.

    Args:
        path: the checkpoint.
        trust: of a file that `read_checkpoint` refuses, a digest of its bytes.

    Raises:
        DataError: as `read_checkpoint`.
    """
    try:
        state = path.stat()
    except OSError as e:
        raise DataError(f"The checkpoint cannot be read: {e.strerror}.", where=path, remedy="Check the path.") from e
    return _digest(path, (state.st_mtime_ns, state.st_size), trust)


@functools.lru_cache(maxsize=64)
def _digest(path: Path, _: tuple[int, int], trust: bool) -> str:
    """The digest of a file in this state: a run asks for it several times."""
    import torch

    digest = hashlib.sha256()
    try:
        weights = read_checkpoint(path)["network_weights"]
    except DataError:
        if not trust:
            raise
        with path.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
        return digest.hexdigest()[:16]
    for name, value in sorted(weights.items()):
        tensor = torch.as_tensor(value).detach().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def read_content(path: str | Path, error: type[TextGuidedError] = DataError, remedy: str = _TRUST) -> Any:
    """What torch.save wrote, without executing anything.

    nnU-Net itself unpickles checkpoints in full, which executes whatever is in them. Here only tensors, plain Python
    values and NumPy numbers and arrays (nnU-Net's log holds some) are built.

    Args:
        path: the file.
        error: class of what is raised.
        remedy: what to do about a file that holds something else.

    Raises:
        TextGuidedError: of class `error`: the file is damaged, or contains something else; names what.
    """
    import torch

    path = Path(path)
    if not hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):
        # Older versions' weights_only unpickler can be made to execute code (CVE-2025-32434).
        what = f"Reading checkpoints safely needs torch 2.6; this is {torch.__version__}."
        raise error(what, where=path, remedy="Update torch.")
    try:
        with torch.serialization.safe_globals(_numpy_values()):
            # The old (non-zip) format cannot be mapped.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except FileNotFoundError as e:
        raise error("The checkpoint does not exist.", where=path, remedy="Check the path.") from e
    except pickle.UnpicklingError as e:
        refused = refused_content(path)
        what = f"contains {', '.join(refused)}" if refused else f"is no valid pickle ({str(e).splitlines()[0]})"
        raise error(
            f"The checkpoint {what}, which is not read because building it could execute code.",
            where=path,
            remedy=remedy,
        ) from e
    except _UNREADABLE as e:
        reason = (str(e) or type(e).__name__).splitlines()[0]
        raise error(
            f"The checkpoint cannot be read: {reason}", where=path, remedy="It is damaged or truncated; copy it again."
        ) from e


def refused_content(path: str | Path) -> list[str]:
    """Names of the functions and classes in a checkpoint that `read_checkpoint` does not build."""
    import torch

    try:
        with torch.serialization.safe_globals(_numpy_values()):
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
    except (*_UNREADABLE, pickle.UnpicklingError):
        return []  # not even a list of names can be had; read_checkpoint says so


def _numpy_values() -> list[Any]:
    """What NumPy numbers and arrays are pickled as: constructors that hold data and run nothing."""
    import codecs

    import numpy as np

    try:
        from numpy._core import multiarray
    except ImportError:  # NumPy 1
        from numpy.core import multiarray  # type: ignore[no-redef]
    numbers = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
    dtypes = list(dict.fromkeys(type(np.dtype(name)) for name in numbers))
    scalar = multiarray.scalar
    # The same function under the name that the other major version of NumPy writes.
    aliases: list[Any] = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    aliases += [(multiarray._reconstruct, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")]
    return [*aliases, np.dtype, np.ndarray, codecs.encode, *dtypes]
