"""Numbers on the command line: checked when they are typed, with an error that says where and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Callable
from operator import ge, gt, le, lt
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
    given = (("above", above, gt), ("at least", least, ge), ("below", below, lt), ("at most", most, le))
    limits = [(word, limit, holds) for word, limit, holds in given if limit is not None]
    noun = "whole number" if kind is int else "number"
    remedy = f"A {noun}: {', '.join(f'{word} {limit:g}' for word, limit, _ in limits)}."

    def parse(text: str) -> Number:
        try:
            value = kind(text)
            if not math.isfinite(value):
                raise ValueError
        except ValueError:
            raise OptionError(f"{text!r} is no {noun}.", where=option, remedy=remedy) from None
        if not all(holds(value, limit) for _, limit, holds in limits):
            message = f"{text} is no {called}." if called else f"{text} is out of range."
            raise OptionError(message, where=option, remedy=remedy)
        return value

    parse.__name__ = kind.__name__  # what argparse calls the type in its help
    return parse


def count(option: str, least: int = 1) -> Callable[[str], int]:
    """A `type` for argparse: a whole number of things."""
    return number(option, int, least=least)
