"""Where a shared model lies: a folder, a ZIP, or the Hugging Face hub, behind one way to read its files."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import parse_json, read_json
from nnunetv2_textguided.inference.sharing.manifest import NAME, SUFFIXES, check_name

MAX_JSON = 256 << 20
HUB = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w./-]+))?\Z", re.ASCII)
"""organisation/name, and optionally @revision."""


class FolderSource:
    """An exported folder, or a snapshot of the hub."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.where = folder, str(folder)

    def manifest(self) -> Any:
        """The content of config.json."""
        if not (self.folder / NAME).is_file():
            raise DataError(
                f"The folder has no {NAME}.", where=self.folder, remedy="Expected a folder that export-model wrote."
            )
        return read_json(self.folder / NAME, error=DataError, max_bytes=MAX_JSON)

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """A file of the model."""
        try:
            with (self.folder / name).open("rb") as stream:
                yield stream
        except OSError as error:
            raise DataError(f"The file cannot be read: {error.strerror}.", where=self.folder / name) from error


class ZipSource:
    """An exported folder in a ZIP. Nothing is extracted under a name that the ZIP chooses."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive, self.where = archive, str(archive.filename)
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
        if len(set(names)) != len(names):
            raise DataError("The ZIP has two entries of one name.", where=self.where)
        _refuse_ways_out(names, self.where)
        found = [name for name in names if PurePosixPath(name).name == NAME]
        if len(found) != 1:
            raise DataError(
                f"The ZIP has {len(found)} files {NAME} where one is expected.",
                where=self.where,
                remedy="Expected a ZIP of a folder that export-model wrote. One of nnUNetv2_export_model_to_zip holds "
                "pickles: nnUNetv2_install_pretrained_model_from_zip, if you trust whoever made it.",
            )
        self.prefix = found[0].removesuffix(NAME)

    def manifest(self) -> Any:
        """The content of config.json."""
        where = f"{self.where}: {self.prefix}{NAME}"
        if self.archive.getinfo(self.prefix + NAME).file_size > MAX_JSON:
            raise DataError(f"The file has more than {MAX_JSON} bytes.", where=where)
        with self.open(NAME) as stream:
            try:
                return parse_json(stream.read().decode("utf-8"))
            except (ValueError, RecursionError) as error:
                raise DataError(f"The file is not valid JSON: {error}.", where=where) from error

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """A file of the model."""
        try:
            with self.archive.open(self.prefix + name) as stream:
                yield stream
        except (KeyError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
            raise DataError(f"The ZIP's entry cannot be read: {error}.", where=f"{self.where}: {name}") from error


Source = FolderSource | ZipSource


def _refuse_ways_out(names: list[str], where: str) -> None:
    """Raise DataError for entries that other programs would write outside of the folder they unpack into."""
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if ".." in parts or name.startswith(("/", "\\")) or ":" in name or "\0" in name:
            raise DataError(
                f"The entry {name!r} leads out of the folder.",
                where=where,
                remedy="Do not use this ZIP: it is hostile.",
            )
        if PurePosixPath(name).suffix in SUFFIXES and len(parts) == 1:
            check_name(name, where)


@contextlib.contextmanager
def open_source(name: str) -> Iterator[Source]:
    """A folder, a ZIP, or organisation/name[@revision] on the hub.

    Raises:
        DataError: it is none of them, damaged, or cannot be had.
    """
    path = Path(name)
    if path.is_dir():
        yield FolderSource(path)
    elif path.is_file():
        try:
            with zipfile.ZipFile(path) as archive:
                yield ZipSource(archive)
        except zipfile.BadZipFile as error:
            raise DataError(f"The file is no readable ZIP: {error}.", where=path, remedy="Copy it again.") from error
    elif match := HUB.match(name):
        yield FolderSource(_download(match["repository"], match["revision"]))
    else:
        raise DataError(
            "There is no such folder or file, and it is no name on the hub.",
            where=name,
            remedy="Give a folder or ZIP of export-model, or organisation/name[@revision].",
        )


def _download(repository: str, revision: str | None) -> Path:
    if importlib.util.find_spec("huggingface_hub") is None:
        raise DataError(
            "A model on the hub needs the package huggingface_hub, which is not installed.",
            where=repository,
            remedy="pip install huggingface_hub, or download the folder elsewhere and give its path.",
        )
    from huggingface_hub import constants, errors, snapshot_download

    from nnunetv2_textguided.text.hub import unreachable

    offline = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else unreachable(constants.ENDPOINT)
    try:
        return Path(
            snapshot_download(
                repository,
                revision=revision,
                allow_patterns=[f"*{suffix}" for suffix in SUFFIXES],  # never a pickle
                local_files_only=offline is not None,
            )
        )
    except (OSError, ValueError, errors.HTTPError) as error:
        reason = offline or str(error).splitlines()[0]
        raise DataError(
            f"There is no such file or folder, and the model cannot be had from the hub: {reason}.",
            where=repository,
            remedy="Download the repository where there is internet (hf download), and give the folder's path.",
        ) from error
