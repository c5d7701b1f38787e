"""What other libraries print, kept away from what this package says, and kept once."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from nnunetv2_textguided.errors import TextGuidedError


class ForeignOutput:
    """Collects the prints and warnings of other libraries, each line once."""

    def __init__(self) -> None:
        self._lines: dict[str, None] = {}
        self._written = 0

    @property
    def lines(self) -> list[str]:
        """What was collected, in order."""
        return list(self._lines)

    @contextmanager
    def capture(self) -> Iterator[None]:
        """Collect instead of print. What ends in a traceback is printed: it may say why."""
        buffer, explained = io.StringIO(), False
        try:
            with redirect_stdout(buffer), warnings.catch_warnings(record=True) as caught:
                yield
            explained = True
        except TextGuidedError:
            explained = True
            raise
        finally:
            said = [*buffer.getvalue().splitlines(), *(f"{w.category.__name__}: {w.message}" for w in caught)]
            self._lines.update(dict.fromkeys(line for line in said if line.strip()))
            if not explained:
                sys.stderr.write(buffer.getvalue())

    def write(self, path: Path) -> None:
        """Append what has come since the last time to a log."""
        fresh = self.lines[self._written :]
        if fresh:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as stream:
                stream.writelines(f"{line}\n" for line in fresh)
            self._written += len(fresh)


def silence() -> None:
    """For background processes, which load the same libraries again: what those say, they have said before."""
    warnings.simplefilter("ignore")
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (until the process ends)
