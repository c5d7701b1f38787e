"""Numbers on the command line: checked when they are typed, with an error that says where and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

from nnunetv2_textguided.errors import DataError

Number = TypeVar("Number", int, float)


class OptionError(DataError):
    """An option of a command has a value that it cannot have."""


def number(
    option: str,
    kind: type[Number],
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
    called: str = "",
) -> Callable[[str], Number]:
    """A `type` for argparse: a finite number within bounds.

    Args:
        option: name of the option, for the error.
        kind: int or float.
        above: the number has to be above this.
        least: the number may be no smaller than this.
        below: the number has to be below this.
        most: the number may be no larger than this.
        called: what the number is, for the error.
    """
    limits = [("above", above), ("at least", least), ("below", below), ("at most", most)]
    allowed = ", ".join(f"{word} {limit:g}" for word, limit in limits if limit is not None)

    def parse(text: str) -> Number:
        noun = "whole number" if kind is int else "number"
        try:
            value = kind(text)
            if not math.isfinite(value):
                raise ValueError
        except ValueError:
            raise OptionError(f"{text!r} is no {noun}.", where=option, remedy=f"A {noun}: {allowed}.") from None
        inside = (
            (above is None or value > above)
            and (least is None or value >= least)
            and (below is None or value < below)
            and (most is None or value <= most)
        )
        if not inside:
            raise OptionError(
                f"{text} is no {called}." if called else f"{text} is out of range.",
                where=option,
                remedy=f"A {noun}: {allowed}.",
            )
        return value

    parse.__name__ = kind.__name__  # what argparse calls the type in its help
    return parse


def count(option: str, least: int = 1) -> Callable[[str], int]:
    """A `type` for argparse: a whole number of things."""
    return number(option, int, least=least)
