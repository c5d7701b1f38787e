"""The errors that users see: each says what is wrong, where it is, and what to do about it."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import ClassVar


class TextGuidedError(Exception):
    """Base of every error this package raises for something a user can correct.

    Args:
        what: what is wrong, in one sentence.
        where: the file, key or case it concerns.
        remedy: what to do about it; None: what usually helps with this kind of error, if anything does.
    """

    usual_remedy: ClassVar[str | None] = None

    def __init__(self, what: str, *, where: object = None, remedy: str | None = None) -> None:
        self.what, self.where, self.remedy = what, where, remedy or self.usual_remedy
        super().__init__(self.what, self.where, self.remedy)

    def __str__(self) -> str:
        lines = [self.what]
        if self.where is not None:
            lines.append(f"  where: {self.where}")
        if self.remedy is not None:
            lines.append(f"  what to do: {self.remedy}")
        # What a file says may hold half surrogate pairs, which no terminal can be sent.
        return "\n".join(lines).encode("utf-8", "backslashreplace").decode("utf-8")

    def __reduce__(self) -> tuple:
        # Keyword-only arguments are lost by the default protocol, and errors cross process borders in nnU-Net's pools.
        return _rebuild, (type(self), self.what, self.where, self.remedy)


def _rebuild(cls: type[TextGuidedError], what: str, where: object, remedy: str | None) -> TextGuidedError:
    return cls(what, where=where, remedy=remedy)


class SettingsError(TextGuidedError):
    """A `text_guidance` block or preset is not valid."""

    usual_remedy = "Correct the block; docs/settings.md lists all keys with their ranges."


class PromptBankError(TextGuidedError):
    """A prompt bank is not valid."""

    usual_remedy = "Correct the bank; docs/text.md shows its format."


class EmbeddingFileError(TextGuidedError):
    """An embedding file is damaged, of an unknown format, or does not belong to the prompts it is used with."""

    usual_remedy = "Make the file again: nnUNetv2_textguided encode."


class EncoderError(TextGuidedError):
    """A text encoder cannot be had, or is not what it claims to be."""


class NetworkError(TextGuidedError):
    """A network cannot be built from these plans, or these weights do not fit it."""

    usual_remedy = "Plan the data set again, or use the plans of the model folder."


class PlanningError(TextGuidedError):
    """Plans cannot be made, or do not fit the memory that they are made for."""


class TrainingError(TextGuidedError):
    """A training cannot start, continue or go on."""


class DataError(TextGuidedError):
    """An image, label, table or data set is damaged, missing or inconsistent."""


def print_without_traceback() -> None:
    """Have this process print an uncaught TextGuidedError as its message alone, as this package's own command does.

    For commands of nnU-Net's that run this package's classes: there the message would stand under a long traceback.
    A hook that somebody else has set stays, and `python -X dev` shows the traceback.
    """
    if sys.excepthook is sys.__excepthook__ and not sys.flags.dev_mode:
        sys.excepthook = _print_message


def _print_message(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if isinstance(error, TextGuidedError):
        print(f"error: {error}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)
