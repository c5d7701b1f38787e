"""One sentence: did the text help? And, where it cannot be said, why not.

The method is compared with its no-text ablation (does the guidance help at all?) and with controls in which the text
carries no meaning: random vectors, freely learned vectors, shuffled prompts (is it the *text* that helps?). All of it
follows from the intervals of these differences over patients and trainings (evaluation/difference.py): "helps" is said
only if every one of them excludes zero, after Holm's correction over them, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from nnunetv2_textguided.benchmark.report.names import CONTROLS, Role, length, role
from nnunetv2_textguided.evaluation.comparison import Comparison
from nnunetv2_textguided.evaluation.difference import Ends
from nnunetv2_textguided.evaluation.metrics import Metric
from nnunetv2_textguided.evaluation.power import ENOUGH, MOST_REPEATS, repeats_needed
from nnunetv2_textguided.nnunet.variant import Variant


class Outcome(Enum):
    """What a benchmark says about the text."""

    HELPED = "helped"
    PARTLY = "partly"
    GUIDANCE_ONLY = "guidance only"
    NO_EVIDENCE = "no evidence"
    HARMED = "harmed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Verdict:
    """The answer for one method in one study.

    Attributes:
        outcome: in one word.
        sentence: in one sentence, with the intervals.
        comparisons: role -> the method against it.
        missing: roles without a variant.
        notes: sentences on what the difference from no text rests on, and on what would be needed to see more.
    """

    outcome: Outcome
    sentence: str
    comparisons: Mapping[Role, Comparison]
    missing: tuple[Role, ...]
    notes: tuple[str, ...] = ()


QUESTION = (Role.NO_TEXT, *CONTROLS)
VISIBLE = (0.01, 0.02, 0.05)  # differences that a reader may want to see


def verdict_pairs(variants: Sequence[Variant]) -> dict[Role, tuple[Variant, Variant]]:
    """Role -> (method, its opponent): trained under the same plans and, by name, for the same length."""
    method = next((v for v in variants if role(v.trainer) is Role.METHOD), None)
    if method is None:
        return {}
    same = [v for v in variants if v.plans == method.plans and length(v.trainer) == length(method.trainer)]
    return {role(v.trainer): (method, v) for v in same if role(v.trainer) in QUESTION}


def judge(has_method: bool, comparisons: Mapping[Role, Comparison], metric: Metric, level: float) -> Verdict:
    """The verdict.

    Args:
        has_method: whether AlignRefine is among the variants.
        comparisons: the method against each role that is present; one family of Holm's correction.
        metric: the primary one.
        level: nominal coverage of the intervals.
    """
    missing = tuple(r for r in QUESTION if r not in comparisons)
    if not has_method:
        sentence = "Whether the text helps cannot be said: nnUNetTrainerAlignRefine is not among the variants."
        return Verdict(Outcome.UNKNOWN, sentence, comparisons, missing)
    no_text = comparisons.get(Role.NO_TEXT)
    notes = tuple(_notes(no_text, metric, level)) if no_text else ()
    if no_text is None:
        sentence = "Whether the text helps cannot be said: its no-text ablation (nnUNetTrainerAlignRefine_NoText) "
        sentence += "is not among the variants."
        return Verdict(Outcome.UNKNOWN, sentence, comparisons, missing)
    if not math.isfinite(no_text.found.p):
        sentence = "Whether the text helps cannot be said: a single training of each model does not tell an effect "
        sentence += "from the chance in training."
        return Verdict(Outcome.UNKNOWN, sentence, comparisons, missing, notes)
    outcome = _outcome(no_text, {r: c for r, c in comparisons.items() if r in CONTROLS}, level)
    return Verdict(outcome, _sentence(outcome, comparisons, missing, metric, level), comparisons, missing, notes)


def _outcome(no_text: Comparison, controls: Mapping[Role, Comparison], level: float) -> Outcome:
    if not no_text.significant(level):
        return Outcome.NO_EVIDENCE
    if no_text.gain < 0:
        return Outcome.HARMED
    if any(not (c.significant(level) and c.gain > 0) for c in controls.values()):
        return Outcome.GUIDANCE_ONLY
    return Outcome.HELPED if len(controls) == len(CONTROLS) else Outcome.PARTLY


def _sentence(
    outcome: Outcome,
    comparisons: Mapping[Role, Comparison],
    missing: tuple[Role, ...],
    metric: Metric,
    level: float,
) -> str:
    no_text = comparisons[Role.NO_TEXT]
    controls = {r: c for r, c in comparisons.items() if r in CONTROLS}
    against = f"against no text AlignRefine's {metric.title} differs by {_with_interval(no_text, metric)}"
    intervals = f"({level:.0%} intervals over patients and trainings, p after Holm's correction)"
    others = "; ".join(f"against {r.value} {_with_interval(c, metric)}" for r, c in controls.items())
    others = f"; {others}" if others else ""
    absent = _absent(tuple(r for r in missing if r in CONTROLS))
    if outcome is Outcome.NO_EVIDENCE:
        worse = max(metric.gain(end) for end in no_text.found.ends) < 0
        but = ", rather that it did harm" if worse else ""
        return f"There is no evidence that the text helped{but}: {against}{others} {intervals}{absent}."
    if outcome is Outcome.HARMED:
        return f"The text did harm: {against}{others} {intervals}{absent}."
    if outcome is Outcome.GUIDANCE_ONLY:
        equal = [r.value for r, c in controls.items() if not (c.significant(level) and c.gain > 0)]
        claim = f"The guidance helped, but not through the meaning of the text: it is not shown to beat {_and(equal)}"
        return f"{claim}; {against}{others} {intervals}{absent}."
    if outcome is Outcome.PARTLY and not controls:
        return f"The guidance helped, but whether through its text cannot be said: {against} {intervals}{absent}."
    if outcome is Outcome.PARTLY:
        return f"The text helped, as far as the controls that were run can tell: {against}{others} {intervals}{absent}."
    return f"The text helped: {against}{others} {intervals}."


def _with_interval(comparison: Comparison, metric: Metric) -> str:
    p = comparison.p_holm
    shown = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    return f"{metric.text(comparison.found.value, sign=True)} {_ends(comparison.found.ends, metric)}, {shown}"


def _ends(ends: Ends, metric: Metric) -> str:
    return f"[{metric.text(ends.low, sign=True)}, {metric.text(ends.high, sign=True)}]"


def _notes(no_text: Comparison, metric: Metric, level: float) -> Iterator[str]:
    """What the difference from no text rests on, and how many trainings would show how much."""
    found = no_text.found
    by_fold = ", ".join(metric.text(difference, sign=True) for difference in found.by_fold)
    leans = "; they differ by more than patients and trainings explain" if found.folds_differ else ""
    yield f"The difference from no text by fold: {by_fold}{leans}."
    if math.isfinite(found.ends_over_patients.low):
        yield (
            f"Over patients alone its {level:.0%} interval would be {_ends(found.ends_over_patients, metric)}: what "
            "other patients would change for these very trainings, not what another training would."
        )
    if found.variance is not None and metric.unit_interval:
        needed = [repeats_needed(found, effect) for effect in VISIBLE]
        texts = (f"{n or f'over {MOST_REPEATS} (it takes more patients)'} for {effect:g}"
                 for n, effect in zip(needed, VISIBLE, strict=True))  # fmt: skip
        yield (
            f"Trainings per fold and model that would find a true difference with {ENOUGH:.0%} power: "
            f"{', '.join(texts)}."
        )


def _absent(missing: tuple[Role, ...]) -> str:
    return f"; not run: {_and([r.value for r in missing])}" if missing else ""


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
