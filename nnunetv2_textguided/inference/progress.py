"""Progress within a case: windows of all folds, with the time that is left."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm


class WindowProgress:
    """A bar over the windows of one case; silent until it is opened."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    @contextmanager
    def of(self, case: str, folds: int) -> Iterator[None]:
        """Show the bar of a case, whose windows are predicted once per fold, until the block ends."""
        terminal = sys.stderr.isatty()
        self._folds = folds
        # A log file gets a line every half minute, a terminal a bar that disappears.
        self._bar = tqdm(desc=case, unit="window", leave=False, mininterval=0.2 if terminal else 30, delay=2)
        try:
            yield
        finally:
            self._bar.close()
            self._bar = None

    def expect(self, windows: int) -> None:
        """Tell the number of windows of one fold."""
        if self._bar is not None and self._bar.total is None:
            self._bar.total = windows * self._folds

    def step(self) -> None:
        """One window is done."""
        if self._bar is not None:
            self._bar.update()
