"""Code blocks of Markdown files, and what they need."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^```(?P<language>\w*)\s*$")
NEEDS = re.compile(r"^<!-- needs: (?P<needs>[\w, ]+) -->$")
RUN = ("bash", "python")
# "json" is parsed, "text" is output or a layout.
LANGUAGES = (*RUN, "json", "text")
REASONS = ("gpu", "archive", "internet", "weights", "slurm")


@dataclass(frozen=True)
class Block:
    """A fenced block: `line` is that of its opening fence, `needs` the reasons for which it is not executed."""

    file: Path
    line: int
    language: str
    needs: tuple[str, ...]
    code: str

    @property
    def place(self) -> str:
        return f"{self.file.name}:{self.line}"


def blocks(file: Path) -> list[Block]:
    """All fenced blocks of a Markdown file, in order."""
    found: list[Block] = []
    needs: tuple[str, ...] = ()
    opened: tuple[int, str] | None = None
    code: list[str] = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if opened is not None:
            if line.strip() == "```":
                found.append(Block(file, opened[0], opened[1], needs, "\n".join(code) + "\n"))
                opened, needs, code = None, (), []
            else:
                code.append(line)
        elif fence := FENCE.match(line.strip()):
            opened = (number, fence["language"])
        elif mark := NEEDS.match(line.strip()):
            needs = tuple(word.strip() for word in mark["needs"].split(","))
        elif line.strip():
            needs = ()  # the mark belongs to the block right below it
    if opened is not None:
        raise ValueError(f"{file}:{opened[0]}: the code block is never closed")
    return found
