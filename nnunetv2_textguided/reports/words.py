"""Which of a report's words count when its lesions are looked for."""

from __future__ import annotations

from typing import Literal, get_args

Word = Literal["count", "sector", "diameter"]
WORDS: tuple[Word, ...] = get_args(Word)
