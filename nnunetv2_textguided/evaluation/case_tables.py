"""Tables in Markdown of the models in files of cases: printed, or put into a page that says which ones it wants.

A page asks with comments, and what is between them and `<!-- end -->` is replaced:

    <!-- values: MODEL ... -->                          a row per model
    <!-- differences: MODEL ... minus MODEL ... -->     a row per difference; one side names a single model
    <!-- thresholds: MODEL ... minus MODEL ... -->      the same at thresholds fitted on the other folds
    <!-- repeats: MODEL minus MODEL -->                 a row per repeat that has all folds of both

", repeat NAME" at the end of a request takes that repeat's trainings alone: where repeats differ in more than chance
(each with its own training cases, say), models with other repeats cannot be compared over all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.case_files import METRICS, CaseFile
from nnunetv2_textguided.evaluation.difference import Difference, Ends
from nnunetv2_textguided.evaluation.power import MOST_REPEATS, repeats_needed
from nnunetv2_textguided.evaluation.statistics.holm import holm
from nnunetv2_textguided.evaluation.threshold_comparison import ThresholdComparison, correct

_REQUEST = re.compile(
    r"(<!-- (?P<kind>values|differences|thresholds|repeats): (?P<what>[^>]*?)(?:, repeat (?P<repeat>\S+))? -->\n).*?"
    r"(?P<end><!-- end -->)",
    re.DOTALL,
)
_REST = "AP of voxels | false mL of lesion-free cases at 0.5 and fitted: model; baseline | |"
_HEAD = (
    "Dice | over patients and trainings | p | Holm | over patients alone | by fold | repeats for 0.02; 0.05 | AUROC |"
)


@dataclass(frozen=True)
class Tables:
    """Tables of a file of cases.

    Attributes:
        cases: the file.
        titles: model -> what it is called; its name where nothing is said.
    """

    cases: CaseFile
    titles: Mapping[str, str]
    _compared: dict[str, Mapping[tuple[str, str], ThresholdComparison]] = field(default_factory=dict, init=False)

    def fill(self, page: str) -> str:
        """The page with the tables that it asks for.

        Raises:
            DataError: it asks for none, or for a model that is not there.
        """

        def table(found: re.Match[str]) -> str:
            own = Tables(self.cases.of_repeat(found["repeat"]), self.titles) if found["repeat"] else self
            return f"{found[1]}{own.made(found['kind'], found['what'])}\n{found['end']}"

        filled, number = _REQUEST.subn(table, page)
        if not number:
            raise DataError("The page asks for no table.", where="--into", remedy="See `<!-- values: MODEL -->`.")
        return filled

    def made(self, kind: str, what: str) -> str:
        """One table."""
        if kind == "values":
            return "\n".join(self._values(what.split()))
        if kind == "thresholds":
            return "\n".join(self._thresholds(what))
        pairs = _pairs(what)
        return "\n".join(self._repeats(*pairs[0]) if kind == "repeats" else self._differences(pairs))

    def sentences(self, what: str) -> Iterator[str]:
        """What becomes of the differences that `thresholds` tables, one sentence each."""
        for (model, baseline), found in self._at_thresholds(what).items():
            yield found.sentence(self._title(model), self._title(baseline))

    def _at_thresholds(self, what: str) -> Mapping[tuple[str, str], ThresholdComparison]:
        """The pairs' comparisons, one family of Holm's correction: the table's and the sentences'."""
        if what not in self._compared:
            pairs = _pairs(what)
            found = correct([self.cases.at_thresholds(*pair) for pair in pairs])
            self._compared[what] = dict(zip(pairs, found, strict=True))
        return self._compared[what]

    def _title(self, model: str) -> str:
        return self.titles.get(model, model)

    def _values(self, models: list[str]) -> Iterator[str]:
        values = {metric: [self.cases.values(model, metric) for model in models] for metric in METRICS}
        values = {metric: column for metric, column in values.items() if all(value == value for value, _ in column)}
        yield f"| | trainings | {' | '.join(f'{METRICS[metric]} (SD of trainings)' for metric in values)} |"
        yield f"|---|---|{'---|' * len(values)}"
        for model, row in zip(models, zip(*values.values(), strict=True), strict=True):
            cells = [_value(value) + (f" ({spread:.3f})" if spread == spread else "") for value, spread in row]
            yield f"| {self._title(model)} | {self.cases.trainings(model)} | {' | '.join(cells)} |"

    def _differences(self, pairs: list[tuple[str, str]]) -> Iterator[str]:
        shared = len({baseline for _, baseline in pairs}) == 1
        what = f"minus {self._title(pairs[0][1])}" if shared else f"{self._title(pairs[0][0])} minus"
        yield f"| {what} | trainings | {_HEAD}"
        yield f"|---|---|{'---|' * 8}"
        found = [(pair, self.cases.difference(*pair, "dice")) for pair in pairs]
        for ((model, baseline), dice), p in zip(found, holm([d.p for _, d in found]), strict=True):
            auroc = self.cases.difference(model, baseline, "auroc")
            yield self._row(self._title(model if shared else baseline), dice, p, auroc)

    def _thresholds(self, what: str) -> Iterator[str]:
        found = self._at_thresholds(what)
        pairs = list(found)
        shared = len({baseline for _, baseline in pairs}) == 1
        head = f"minus {self._title(pairs[0][1])}" if shared else f"{self._title(pairs[0][0])} minus"
        yield f"| {head} | trainings | Dice at 0.5 | p | at fitted thresholds | p | what fitting changes | {_REST}"
        yield f"|---|---|{'---|' * 8}"
        for (model, baseline), one in found.items():
            name = self._title(model if shared else baseline)
            if not one.fitted.folds:
                yield f"| {name} | no probabilities kept |{' |' * 8}"
                continue
            cells = [f"{d.value:+.3f} {_ends(d.ends)}" for d in (one.half, one.fitted, one.change, one.precision)]
            volumes = "; ".join(f"{m.false_ml:.2f} and {m.false_ml_fitted:.2f}" for m in (one.model, one.baseline))
            row = [name, one.fitted.trainings_text, cells[0], _value(one.p_half), cells[1], _value(one.p_fitted)]
            row += [*cells[2:], volumes, one.finding.value]
            yield f"| {' | '.join(row)} |"

    def _repeats(self, model: str, baseline: str) -> Iterator[str]:
        yield f"| {self._title(model)} minus {self._title(baseline)} | trainings | {_HEAD}"
        yield f"|---|---|{'---|' * 8}"
        folds = self.cases.rows["fold"].nunique()
        for repeat in self.cases.repeats():
            own = self.cases.of_repeat(repeat)
            if {model, baseline} <= set(own.models):
                dice = own.difference(model, baseline, "dice")
                if len(dice.folds) == folds:
                    yield self._row(repeat, dice, dice.p, own.difference(model, baseline, "auroc"))

    def _row(self, name: str, dice: Difference, p: float, auroc: Difference) -> str:
        by_fold = " ".join(f"{value:+.3f}" for value in dice.by_fold) + (" (they differ)" if dice.folds_differ else "")
        needed = "; ".join(str(repeats_needed(dice, effect) or f"> {MOST_REPEATS}") for effect in (0.02, 0.05))
        cells = [name, dice.trainings_text, f"{dice.value:+.3f}", _ends(dice.ends), _value(dice.p), _value(p),
                 _ends(dice.ends_over_patients), by_fold, needed,
                 f"{auroc.value:+.3f} {_ends(auroc.ends)}"]  # fmt: skip
        return f"| {' | '.join(cells)} |"


def _pairs(what: str) -> list[tuple[str, str]]:
    """(model, baseline) of "MODEL ... minus MODEL ..."."""
    left, _, right = what.partition(" minus ")
    return [(model, baseline) for model in left.split() for baseline in right.split()]


def _ends(ends: Ends) -> str:
    return f"[{ends.low:+.3f}, {ends.high:+.3f}]" if ends.low == ends.low else "not known"


def _value(value: float) -> str:
    return f"{value:.3f}" if value == value else "not known"
