"""One sentence: did the text help? And, where it cannot be said, why not.

The method is compared with its no-text ablation (does the guidance help at all?) and with controls in which the text
carries no meaning: random vectors, freely learned vectors, shuffled prompts (is it the *text* that helps?). "Helps" is
said only if the interval of every one of these differences excludes zero and Holm's correction over them agrees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from nnunetv2_textguided.benchmark.report.names import CONTROLS, Role, length, role
from nnunetv2_textguided.evaluation.comparison import Comparison
from nnunetv2_textguided.evaluation.metrics import Metric
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
    """

    outcome: Outcome
    sentence: str
    comparisons: Mapping[Role, Comparison]
    missing: tuple[Role, ...]


QUESTION = (Role.NO_TEXT, *CONTROLS)


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
    if no_text is None:
        sentence = "Whether the text helps cannot be said: its no-text ablation (nnUNetTrainerAlignRefine_NoText) "
        sentence += "is not among the variants."
        return Verdict(Outcome.UNKNOWN, sentence, comparisons, missing)
    outcome = _outcome(no_text, {r: c for r, c in comparisons.items() if r in CONTROLS}, level)
    return Verdict(outcome, _sentence(outcome, comparisons, missing, metric, level), comparisons, missing)


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
    intervals = f"({level:.0%} intervals over patients, p after Holm's correction)"
    others = "; ".join(f"against {r.value} {_with_interval(c, metric)}" for r, c in controls.items())
    others = f"; {others}" if others else ""
    absent = _absent(tuple(r for r in missing if r in CONTROLS))
    if outcome is Outcome.NO_EVIDENCE:
        worse = max(metric.gain(end) for end in (no_text.interval.low, no_text.interval.high)) < 0
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
    low, high = comparison.interval.low, comparison.interval.high
    difference = metric.text(comparison.difference, sign=True)
    p = comparison.p_holm
    shown = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    return f"{difference} [{metric.text(low, sign=True)}, {metric.text(high, sign=True)}], {shown}"


def _absent(missing: tuple[Role, ...]) -> str:
    return f"; not run: {_and([r.value for r in missing])}" if missing else ""


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
