"""The answers of docs/evidence.md, README's claim and the figure, computed anew from the tables of cases.

    python docs/evidence/answers.py [--check]

answers.json has the questions; a question whose models are in no table is "not run". What is between marks in the page
(`<!-- NAME: begin -->` and `<!-- NAME: end -->`) is written anew, and so are README's claim and the figure. --check
writes nothing, and fails where one of them says something else.
"""

from __future__ import annotations

import argparse
import html
import json
import math
import re
import sys
import textwrap
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import channels
import forest
import subgroups
from differences import MEASURES, difference, read_cases
from scipy.special import stdtr

from nnunetv2_textguided.evaluation.difference import Difference
from nnunetv2_textguided.evaluation.statistics.holm import holm
from nnunetv2_textguided.files import write_text

HERE = Path(__file__).parent
PAGE, README, FIGURE = HERE.parent / "evidence.md", HERE.parents[1] / "README.md", HERE.parent / "images/evidence.svg"
ALPHA = 0.05
WORDS = {"shown": "helps", "harm": "does harm", "not shown": "is not shown to help",
         "not settled": "is not shown to help"}  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """A question and what the tables say; `found` is None where nothing was run.

    Attributes:
        asked: its entry in answers.json. `margin`: the answer is that nothing is lost, if less than this is.
        found: minuend minus subtrahend.
        p: of no difference (or of a loss of the margin), after Holm's correction over the protocol's comparisons, or
            over all other questions.
    """

    asked: dict[str, Any]
    found: Difference | None
    p: float = math.nan

    @property
    def answer(self) -> str:
        """In a word or two."""
        if self.found is None:
            return "not run"
        low, high = self.found.ends
        limit = -self.asked.get("margin", 0.0)
        if not (low > limit or high < limit):
            return "not shown"
        return ("shown" if low > limit else "harm") if self.p < ALPHA else "not settled"

    @property
    def number(self) -> str:
        """The difference with its interval."""
        return "" if self.found is None else text(self.found)

    @property
    def trainings(self) -> str:
        """How many it rests on."""
        return "" if self.found is None else self.found.trainings_text

    def row(self) -> str:
        """Of the page's table."""
        asked = self.asked
        margin = f"; limit -{asked['margin']:g}" if "margin" in asked else ""
        cells = (
            asked["question"] + (f" ({asked['protocol']})" if "protocol" in asked else ""),
            "not run yet" if self.found is None else self.answer,
            self.number,
            f"{asked['what']}; {MEASURES[asked['measure']]}{margin}",
            self.trainings,
            f"[{asked['page'].split('#')[0].split('/')[-1].removesuffix('.md') or 'below'}]({asked['page']})",
        )
        return f"| {' | '.join(cells)} |"

    def drawn(self) -> forest.Row:
        """Of the figure."""
        assert self.found is not None
        name = f"{self.asked['what']} ({MEASURES[self.asked['measure']]})"
        return forest.Row(name, f"{self.number}, {self.answer}", self.found, self.answer, self.asked.get("margin", 0.0))


def text(found: Difference) -> str:
    """A difference with its interval."""
    return f"{found.value:+.3f} [{found.ends.low:+.3f}, {found.ends.high:+.3f}]"


def answers() -> dict[str, Answer]:
    """Of all questions, by name."""
    asked = json.loads((HERE / "answers.json").read_text(encoding="utf-8"))
    made = [Answer(one, difference(one)) for one in asked]
    p: dict[int, float] = {}
    for counts in (True, False):  # the protocol's comparisons are one family, what is exploratory another
        family = [one for one in made if one.found is not None and ("protocol" in one.asked) == counts]
        p |= {id(one): value for one, value in zip(family, holm([_p(one) for one in family]), strict=True)}
    return {one.asked["id"]: Answer(one.asked, one.found, p.get(id(one), math.nan)) for one in made}


def _p(one: Answer) -> float:
    """Two-sided, of no difference, or of one as large as the margin of what may be lost."""
    found, margin = one.found, one.asked.get("margin", 0.0)
    if not margin or found is None or found.variance is None:
        return math.nan if found is None else found.p
    distance = abs(found.value + margin) / math.sqrt(found.variance.value)
    return float(2 * stdtr(found.variance.freedom, -distance))


def claim(found: dict[str, Answer]) -> str:
    """The first sentences of the page, which README repeats."""
    of = SimpleNamespace(**found)
    words = of.words.found
    side = "below" if words.value > 0 else "above"
    sentences = (
        f"On rendered bpMRI of real anatomy (191 cases, five folds, tiny networks) guidance by fixed prompts "
        f"{WORDS[of.prompts.answer]}: {of.prompts.number} lesion Dice over the same network without text at thresholds "
        f"fitted on the other folds, {of.prompts_half.number} at 0.5 in {of.prompts_half.trainings} earlier trainings.",
        f"Random vectors in place of the words lie {abs(words.value):.3f} {side}, "
        f"[{words.ends.low:+.3f}, {words.ends.high:+.3f}].",
        f"The refiner {WORDS[of.refiner.answer]}: NSD at 2 mm {of.refiner.number}, on against off in "
        f"{of.refiner.found.trainings[0]} trained networks.",
        f"A simulated reader's sentence of where a finding is {WORDS[of.tokens_other.answer]} against another "
        f"patient's, AP of voxels per positive case {of.tokens_other.number}, and {WORDS[of.tokens.answer]} against "
        f"none, {of.tokens.number}; in Dice {of.other.number} ({of.other.answer}) and {of.none.number} "
        f"({of.none.answer}).",
        "Intervals are over patients and trainings.",
    )
    return textwrap.fill(" ".join(sentences), 120, break_on_hyphens=False)


def table(found: dict[str, Answer]) -> str:
    """All questions."""
    head = "| question | answer | difference | of what | trainings | details |\n|---|---|---|---|---|---|"
    return "\n".join([head, *(one.row() for one in found.values())])


def filled(page: str, blocks: dict[str, str]) -> str:
    """The page with what belongs between its marks."""
    for name, content in blocks.items():
        mark = re.compile(rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)", re.DOTALL)
        page, number = mark.subn(lambda found, content=content: f"{found[1]}{content}\n{found[2]}", page)
        if number != 1:
            raise SystemExit(f"The marks of {name!r} are there {number} times, not once.")
    return page


def _texts(figure: Path) -> list[str]:
    """The names and labels of a figure's rows, in order: two versions of matplotlib draw different files."""
    svg = figure.read_text(encoding="utf-8") if figure.is_file() else ""
    texts = [html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]
    names, labels = ([text for text in texts if re.search(kind, text)] for kind in (r" minus ", r"^[-+]\d.*\], "))
    return [text for both in zip_longest(names, labels, fillvalue="") for text in both]


def main(arguments: list[str] | None = None) -> int:
    """Write page, README and figure, or check them; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, and fail where something differs")
    args = parser.parse_args(arguments)
    found = answers()
    cases = read_cases("lesion")
    blocks = {"claim": claim(found), "answers": table(found), "channels": channels.block(cases)}
    blocks |= subgroups.blocks(cases)
    outdated = []
    for path, own in ((PAGE, blocks), (README, {"claim": blocks["claim"]})):
        old = path.read_text(encoding="utf-8")
        if (new := filled(old, own)) != old:
            outdated.append(path)
            if not args.check:
                write_text(path, new)
    rows = [one.drawn() for one in found.values() if one.found is not None]
    if _texts(FIGURE) != [text for row in rows for text in (row.name, row.label)]:
        outdated.append(FIGURE)
        if not args.check:
            write_text(FIGURE, forest.draw(rows))
    for path in outdated:
        print(f"{path}: {'differs from its tables; run docs/evidence/answers.py' if args.check else 'written'}")
    return 1 if args.check and outdated else 0


if __name__ == "__main__":
    sys.exit(main())
