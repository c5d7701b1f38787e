"""Which cases keep their outlines where only some are to; the others have text alone, or are left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.picai.case_job import CaseJob
from nnunetv2_textguided.picai.options import PrepareOptions
from nnunetv2_textguided.picai.plan import Plan
from nnunetv2_textguided.picai.report_targets import reported_lesions


def limit_masks(plan: Plan, options: PrepareOptions, wanted: str | None, seed: int) -> tuple[Plan, PrepareOptions]:
    """The plan in which only the wanted cases keep their outlines.

    Args:
        plan: of every case that the archive holds.
        options: of that plan.
        wanted: how many, or a file with an identifier in each line; None: all that there are.
        seed: of the draw.

    Returns:
        The plan, and its options, which name the cases.

    Raises:
        DataError: there are not as many outlines, the file names a case without one, or none is left.
    """
    if wanted is None and not options.text_cases:
        return plan, options
    outlined = {case: job for case, job in plan.jobs.items() if job.source is not None}
    kept = set(outlined)
    if wanted is not None:
        kept = _draw(outlined, int(wanted), seed) if wanted.isdecimal() else _read(Path(wanted), outlined)
        options = options.model_copy(update={"masks": tuple(sorted(kept))})
    if not kept:
        raise DataError(
            "No case has an outline.", where="--text-cases", remedy="Text alone outlines nothing: add studies."
        )
    jobs, skipped = {}, dict(plan.skipped)
    for case, job in plan.jobs.items():
        if case in kept:
            jobs[case] = replace(job, options=options)
        elif not options.text_cases:
            skipped[case] = "its outline is not among those that --masks keeps"
        elif reported_lesions(plan.rows[case]) is None:
            skipped[case] = f"no outline, and lesion_ISUP does not count its lesions: {plan.rows[case].lesion_isup!r}"
        else:
            jobs[case] = replace(job, options=options, source=None, lesion=None)
    return replace(plan, jobs=jobs, skipped=skipped), options


def _draw(outlined: Mapping[str, CaseJob], number: int, seed: int) -> set[str]:
    """As many cases, with the same share of csPCa; of one seed, fewer are always among more."""
    if not 1 <= number <= len(outlined):
        raise DataError(
            f"{number} outlines are to be kept; there are {len(outlined)}.",
            where="--masks",
            remedy=f"Give a number from 1 to {len(outlined)}, or a file of identifiers.",
        )
    random = np.random.default_rng(seed)
    drawn = []
    for verdict in (True, False):
        cases = sorted(case for case, job in outlined.items() if job.cspca is verdict)
        drawn.append([cases[index] for index in random.permutation(len(cases))])
    positive, negative = drawn
    # Without any outlined lesion nothing is learned.
    positives = max(round(number * len(positive) / len(outlined)), min(1, len(positive)))
    return {*positive[:positives], *negative[: number - positives]}


def _read(path: Path, outlined: Iterable[str]) -> set[str]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        remedy = "Give a number, or a file with an identifier such as 10000_1000000 in each line."
        raise DataError(f"The list of outlines to keep cannot be read: {error}.", where=path, remedy=remedy) from error
    kept = {line.strip() for line in lines} - {""}
    unknown = sorted(kept - set(outlined))
    if unknown:
        shown = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        remedy = "Name studies of --images that have a mask, one <patient>_<study> in each line."
        raise DataError(f"{len(unknown)} of the listed cases have no outline here: {shown}.", where=path, remedy=remedy)
    if not kept:
        raise DataError(
            "The list of outlines to keep names no case.", where=path, remedy="One identifier in each line."
        )
    return kept
