"""The files of a trained model, in a folder or in a ZIP as nnU-Net exports it, behind one interface."""

from __future__ import annotations

import contextlib
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import parse_json, read_json, visible

MAX_CHECKPOINT = 16 << 30
MAX_JSON = 256 << 20


class FolderFiles:
    """A model folder: plans.json, dataset.json, fold_X/..."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.resolve().name
        self.where = str(folder)

    def names(self) -> list[str]:
        """Relative paths of the files of the model and its folds."""
        files = (
            *visible(self.folder, "*.json"),
            *visible(self.folder, "fold_*/*"),
            *visible(self.folder, "fold_*/validation/*.json"),
        )
        return sorted(path.relative_to(self.folder).as_posix() for path in files if path.is_file())

    def read_json(self, name: str) -> Any:
        """The content of a JSON file."""
        return read_json(self.folder / name, error=DataError, max_bytes=MAX_JSON)

    @contextlib.contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """A path where the file can be opened."""
        yield self.folder / name


class ZipFiles:
    """A model in a ZIP. Nothing is extracted under a name that the ZIP chooses."""

    def __init__(self, archive: zipfile.ZipFile, prefix: str) -> None:
        self.archive, self.prefix = archive, prefix
        self.name = PurePosixPath(prefix).name
        self.where = f"{archive.filename}: {prefix}"

    def names(self) -> list[str]:
        """Relative paths of the files of the model and its folds."""
        start = f"{self.prefix}/" if self.prefix else ""
        return sorted(n[len(start) :] for n in self.archive.namelist() if n.startswith(start) and not n.endswith("/"))

    def read_json(self, name: str) -> Any:
        """The content of a JSON file."""
        with self._open(name, MAX_JSON) as stream:
            try:
                return parse_json(stream.read().decode("utf-8"))
            except (ValueError, RecursionError) as e:
                raise DataError(
                    f"The file is not valid JSON: {e}.", where=f"{self.where}/{name}", remedy="Export the model again."
                ) from e

    @contextlib.contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """A path where a copy of the file can be opened."""
        # The checkpoint's tensors may still be mapped from the file, which Windows does not let go then.
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            path = Path(folder) / "file"
            with self._open(name, MAX_CHECKPOINT) as stream, path.open("wb") as target:
                while block := stream.read(1 << 22):
                    target.write(block)
            yield path

    @contextlib.contextmanager
    def _open(self, name: str, limit: int) -> Iterator[IO[bytes]]:
        try:
            info = self.archive.getinfo(f"{self.prefix}/{name}" if self.prefix else name)
            if info.file_size > limit:
                raise DataError(
                    f"The file has {info.file_size} bytes, more than {limit}.", where=f"{self.where}/{name}"
                )
            with self.archive.open(info) as stream:  # never yields more than file_size bytes
                yield stream
        except (KeyError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as e:
            raise DataError(f"The ZIP's entry cannot be read: {e}.", where=f"{self.where}/{name}") from e


ModelFiles = FolderFiles | ZipFiles


def models_in_zip(archive: zipfile.ZipFile) -> list[ZipFiles]:
    """The models in a ZIP: each folder with a plans.json.

    Raises:
        DataError: there is none.
    """
    prefixes = sorted(
        {str(PurePosixPath(n).parent) for n in archive.namelist() if PurePosixPath(n).name == "plans.json"}
    )
    if not prefixes:
        raise DataError(
            "The ZIP holds no model (no plans.json).",
            where=archive.filename,
            remedy="Expected a file made by nnUNetv2_export_model_to_zip.",
        )
    return [ZipFiles(archive, "" if prefix == "." else prefix) for prefix in prefixes]
