"""`config.json` of a shared model: which model it is, and the name, size and checksum of each of its files.

The name is the one that the Hugging Face hub expects a model's description under.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import file_sha256, write_json

NAME = "config.json"
FORMAT = "nnunetv2_textguided.model"
FORMAT_VERSION = 1
MAX_BYTES = 64 << 30
"""Of a whole model: more is not installed."""
MAX_FILES = 10_000
CARD = "README.md"
SUFFIXES = (".json", ".safetensors", ".md")
"""Of the files that a shared model may have: data that nothing executes."""

_PART = re.compile(r"[A-Za-z0-9][\w.+-]*\Z", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?\Z", re.IGNORECASE)


@dataclass(frozen=True)
class SharedFile:
    """One file: its size in bytes and its SHA-256."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What `config.json` says.

    Attributes:
        dataset: name of the data set's folder in nnU-Net's results, Dataset123_Name.
        model: name of the model's folder in it, Trainer__Plans__configuration.
        files: by path relative to the shared folder, with forward slashes.
        software: versions that wrote it.
    """

    dataset: str
    model: str
    files: Mapping[str, SharedFile]
    software: Mapping[str, str]

    def write(self, folder: Path) -> None:
        """Write `config.json` into the folder."""
        files = {name: {"size": file.size, "sha256": file.sha256} for name, file in sorted(self.files.items())}
        head = {"format": FORMAT, "format_version": FORMAT_VERSION, "library_name": "nnunetv2-textguided"}
        write_json(
            folder / NAME,
            head | {"dataset": self.dataset, "model": self.model, "software": dict(self.software), "files": files},
        )


def parse_manifest(content: Any, where: str) -> Manifest:
    """A manifest that is safe to follow: names without a way out of the folder, bounded sizes.

    Raises:
        DataError: it is of another format, or names something that is not safe.
    """
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(
            "This is not a model that `export-model` wrote.",
            where=where,
            remedy="A ZIP of nnUNetv2_export_model_to_zip holds pickles: install it with "
            "nnUNetv2_install_pretrained_model_from_zip if you trust whoever made it.",
        )
    if content.get("format_version") != FORMAT_VERSION:
        raise DataError(
            f"The model has format version {content.get('format_version')!r}; this version reads {FORMAT_VERSION}.",
            where=where,
            remedy="Update nnunetv2-textguided.",
        )
    dataset, model = (check_folder(content.get(key), f"{where}: {key}") for key in ("dataset", "model"))
    listed = content.get("files")
    if not isinstance(listed, dict) or not 0 < len(listed) <= MAX_FILES:
        raise DataError("The list of files is empty, too long, or none.", where=where)
    files = {check_name(name, where): _file(entry, name, where) for name, entry in listed.items()}
    if len({name.casefold() for name in files}) != len(files):
        raise DataError("Two files differ only in upper and lower case.", where=where)
    if sum(file.size for file in files.values()) > MAX_BYTES:
        raise DataError(f"The model has more than {MAX_BYTES >> 30} GiB.", where=where)
    software = content.get("software")
    return Manifest(dataset, model, files, software if isinstance(software, dict) else {})


def check_name(name: str, where: str) -> str:
    """The path itself, if it stays inside of the folder on every operating system and is of a kind that is data.

    Raises:
        DataError: it is not.
    """
    parts = name.split("/")
    plain = all(_PART.match(part) and not _RESERVED.match(part) and not part.endswith(".") for part in parts)
    if not plain or len(parts) > 4:
        raise DataError(
            f"The path {name!r} could leave the folder of the model.",
            where=where,
            remedy="Do not use this model: export-model writes no such path.",
        )
    if PurePosixPath(name).suffix not in SUFFIXES:
        raise DataError(
            f"{name!r} is no kind of file that a shared model may have ({', '.join(SUFFIXES)}).",
            where=where,
            remedy="Do not use this model: export-model writes no such file.",
        )
    return name


def check_folder(value: Any, where: str) -> str:
    """The name itself, if it is one of a folder on every operating system, and no path.

    Raises:
        DataError: it is not.
    """
    if not isinstance(value, str) or not _PART.match(value) or _RESERVED.match(value):
        raise DataError(f"{value!r} is no name of a folder.", where=where)
    return value


def _file(entry: Any, name: str, where: str) -> SharedFile:
    size, digest = (entry.get(key) if isinstance(entry, dict) else None for key in ("size", "sha256"))
    known = isinstance(digest, str) and _SHA256.match(digest) is not None
    if known and isinstance(size, int) and not isinstance(size, bool) and size >= 0:
        return SharedFile(size, str(digest))
    raise DataError("Size or checksum is missing or not valid.", where=f"{where}: {name}")


def describe_file(path: Path) -> SharedFile:
    """Size and checksum of a file."""
    return SharedFile(path.stat().st_size, file_sha256(path))


def copy_checked(source: IO[bytes], target: Path, expected: SharedFile, where: str) -> None:
    """Copy a stream to a file, which must turn out to be the one that the manifest describes.

    Raises:
        DataError: it is longer, shorter or other than expected.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, left = hashlib.sha256(), expected.size
    with target.open("wb") as sink:
        while left >= 0 and (block := source.read(min(1 << 22, left + 1))):
            digest.update(block)
            sink.write(block)
            left -= len(block)
    if left or digest.hexdigest() != expected.sha256:
        raise DataError(
            "The file is not the one that config.json describes: its checksum differs.",
            where=where,
            remedy="It was damaged or changed on its way. Copy or download the model again.",
        )
