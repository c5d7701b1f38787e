"""Progress within a case: windows of all folds, with the time that is left."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm


class WindowProgress:
    """A bar over the windows of one case; silent until it is opened."""

    def __init__(self) -> None:
        self.bar: tqdm | None = None
        self._folds = 1

    @contextmanager
    def of(self, case: str, folds: int, delay: float = 2) -> Iterator[None]:
        """Show the bar of a case, whose windows are predicted once per fold, until the block ends.

        Args:
            case: its name.
            folds: number of folds.
            delay: seconds before anything is shown: short cases need no bar.
        """
        terminal = sys.stderr.isatty()
        self._folds = folds
        # A log file gets a line every half minute, a terminal a bar that disappears.
        self.bar = tqdm(desc=case, unit="window", leave=False, mininterval=0.2 if terminal else 30, delay=delay)
        try:
            yield
        finally:
            self.bar.close()
            self.bar = None

    def expect(self, windows: int) -> None:
        """Tell the number of windows of one fold."""
        if self.bar is not None and self.bar.total is None:
            self.bar.total = windows * self._folds

    def step(self) -> None:
        """One window is done."""
        if self.bar is not None:
            self.bar.update()
