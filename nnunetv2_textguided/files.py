"""Files that are either whole or absent, and the JSON and shipped resources that the package reads."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nnunetv2_textguided.errors import DataError, TextGuidedError

_MARK = "\ufeff"
PACKAGE = Path(__file__).resolve().parent
MAX_DEPTH = 64
"""JSON that is nested deeper is refused; nnU-Net's own and this package's has a tenth of that."""


@contextlib.contextmanager
def atomic_path(target: str | os.PathLike[str], *, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `target`; rename it to `target` if the block succeeds, delete it if not.

    A reader therefore sees the old file or the new one, never half of one, also after a kill. The temporary name
    keeps the suffix of `target`, because many writers choose their format by it.

    Args:
        target: the file to write.
        durable: have the content on the disk before the rename, so that not even a power failure leaves half of it.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    suffix = "".join(target.suffixes[-2:])
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=f".partial{suffix}")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; the result should be as readable as any other file of the user's.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        if durable:
            with temporary.open("rb+") as stream:
                os.fsync(stream.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(folder: Path, option: str = "-o") -> None:
    """Check that files can be written into a folder, which may have yet to be made, before hours of work.

    Args:
        folder: the folder.
        option: that names it.

    Raises:
        DataError: they cannot: names the folder and what the system said.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        # Tried rather than asked: a mounted share can refuse what its permissions allow.
        with tempfile.TemporaryDirectory(dir=there):
            pass
    except OSError as error:
        raise DataError(
            f"Nothing can be written there: {error.strerror}.",
            where=there,
            remedy=f"Choose another folder with {option}.",
        ) from error


def visible(folder: Path, pattern: str = "*") -> list[Path]:
    """What matches `pattern` in a folder, by name; nothing where there is no folder.

    Without names that start with a dot, which `Path.glob` finds, too: macOS leaves "._name" beside each file on foreign
    disks, and files that are being written have such names.
    """
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def visible_below(folder: Path, pattern: str = "*") -> list[Path]:
    """As `visible`, of the folder and all folders in it whose names do not start with a dot, such as snapshots."""
    found = folder.rglob(pattern)
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def remove_partials(target: str | os.PathLike[str]) -> None:
    """Delete what killed processes left of their attempts to write `target`. Call it where nobody is writing it now."""
    path = Path(target)
    for partial in path.parent.glob(f".{glob.escape(path.name)}.*.partial*"):
        partial.unlink(missing_ok=True)


def write_text(target: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def json_value(value: Any) -> Any:
    """`value` as JSON can hold it: arrays and tuples as lists, numpy's numbers as Python's, not finite ones as null."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_json(
    source: str | os.PathLike[str],
    *,
    error: type[TextGuidedError] = TextGuidedError,
    max_bytes: int = 64 << 20,
    unique_keys: bool = False,
    marked: bool = True,
) -> Any:
    """Read JSON; every failure is `error`, with the path.

    Args:
        source: the file.
        error: the error class to raise.
        max_bytes: refuse larger files before reading them.
        unique_keys: refuse objects that repeat a key, of which JSON readers otherwise drop all but the last.
        marked: whether it may start with a byte order mark, of some editors; nnU-Net cannot read its files so.

    Nested deeper than MAX_DEPTH is refused too: whatever walks over it by recursion would fail with a traceback.
    """
    path = Path(source)
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise error(f"The file has {size} bytes, more than the {max_bytes} allowed.", where=path)
        text = path.read_text(encoding="utf-8")
        if text.startswith(_MARK) and not marked:
            what = "The file starts with a byte order mark, with which nnU-Net cannot read it."
            raise error(what, where=path, remedy="Save it as UTF-8 without the mark.")
        return parse_json(text.removeprefix(_MARK), unique_keys=unique_keys)
    except FileNotFoundError as e:
        raise error("The file does not exist.", where=path, remedy="Check the path.") from e
    except OSError as e:
        raise error(f"The file cannot be read: {e.strerror}.", where=path) from e
    except (ValueError, RecursionError) as e:  # ValueError: not UTF-8, not JSON, a repeated key, a giant number
        raise error(f"The file is not valid JSON: {e}.", where=path, remedy="Correct or regenerate the file.") from e


def parse_json(text: str, *, unique_keys: bool = False) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError, RecursionError: it is not JSON, repeats a key, or is nested deeper than MAX_DEPTH.
    """
    value = json.loads(text, object_pairs_hook=_unique if unique_keys else None)
    if is_deep(value):
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
    return value


def is_deep(value: Any) -> bool:
    """Whether dictionaries and lists are nested deeper than MAX_DEPTH."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        children = (v.values() if isinstance(v, dict) else v for v in level if isinstance(v, (dict, list)))
        level = [child for values in children for child in values if isinstance(child, (dict, list))]
        if not level:
            return False
    return True


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(k for k in keys if keys.count(k) > 1)!r} occurs twice in one object")
    return value


def shipped(folder: str) -> Path:
    """The folder of shipped resources `folder` ("plans" or "trainers").

    A wheel carries it inside the package (hatchling force-include); an editable install finds it beside the package.
    """
    for candidate in (PACKAGE / folder, PACKAGE.parent / folder):
        if candidate.is_dir():
            return candidate
    raise TextGuidedError(
        f"The folder '{folder}' that this package ships is missing.",
        where=PACKAGE,
        remedy="The installation is damaged; reinstall nnunetv2-textguided.",
    )
