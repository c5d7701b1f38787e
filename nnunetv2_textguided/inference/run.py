"""Predict cases: preprocess ahead, predict, export in the background, one case's failure being that case's."""

from __future__ import annotations

import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from nnunetv2_textguided.errors import DataError, TextGuidedError
from nnunetv2_textguided.files import read_json
from nnunetv2_textguided.inference.cases import CASES, Case, remove_leftovers, results_of
from nnunetv2_textguided.inference.cohort import Cohort, find_cases
from nnunetv2_textguided.inference.export import PRIOR, Exporter
from nnunetv2_textguided.inference.loading import Session, open_session
from nnunetv2_textguided.inference.options import ModelOptions, OutputOptions, WorkOptions
from nnunetv2_textguided.inference.prepare import Notes, Prepared, prepare_case
from nnunetv2_textguided.inference.record import cases_in, check_same_origin, write_description
from nnunetv2_textguided.inference.tables import write_tables
from nnunetv2_textguided.inference.training_range import UNLIKE
from nnunetv2_textguided.inference.viewer.page import write_page
from nnunetv2_textguided.inference.zones import zone_file
from nnunetv2_textguided.processes.background import Pending, Workers, workers
from nnunetv2_textguided.processes.noise import ForeignOutput

T = TypeVar("T")

LOG = "predict.log"
"""File in the prediction folder for what other libraries print."""


@dataclass
class Summary:
    """What became of the cases of one part.

    Attributes:
        predicted: cases that were predicted.
        skipped: number of cases that were complete before.
        failed: what was wrong with each case that has no result.
        remarks: what a reader of a case's results has to know.
    """

    predicted: list[str] = field(default_factory=list)
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, list[str]] = field(default_factory=dict)


Export = tuple[Case, np.ndarray, dict[str, Any], dict[str, float], Notes]


def predict_folder(
    source: Path, model: ModelOptions, output: OutputOptions, work: WorkOptions, foreign: ForeignOutput | None = None
) -> Summary:
    """Predict the cases of an nnU-Net image folder.

    Args:
        source: the folder.
        model: the model, and how it is applied.
        output: what is written where.
        work: how the work is divided.
        foreign: collects what other libraries print.

    Raises:
        TextGuidedError: nothing can be predicted: model, input folder or options are not valid, or the prediction
            folder holds results of another model.
    """
    session = open_session(model, output, foreign)
    return predict_cases(session, find_cases(source, session.ending, session.channels), str(source), work)


def predict_cases(session: Session, cohort: Cohort, source: str, work: WorkOptions) -> Summary:
    """Predict cases, wherever they come from.

    Args:
        session: the model, and what is written where.
        cohort: the cases.
        source: where they come from, in words, for the record.
        work: how the work is divided.

    Raises:
        DataError: the prediction folder holds results of another model or of other settings.
    """
    output, exporter = session.exporter.output, session.exporter
    if session.warning is not None:
        print(session.warning)
    names = set(cohort.names)
    cohort = session.reader.read(cohort).part(work.part, work.parts)
    if output.zones is not None:
        zones = output.zones
        cohort = cohort.without(lambda case: zone_file(zones, case.name))
    done = {case.name for case in cohort.cases if work.continued and is_complete(case, exporter)}
    there = cases_in(output.folder)
    check_same_origin(session.model, output, there if work.continued else there - names)
    remove_leftovers(output.folder, {case.name for case in cohort.cases})
    todo = [case for case in cohort.cases if case.name not in done]
    with session.foreign.capture():
        session.reader.embed({case.name: case.text for case in todo})
    print(f"{len(todo)} cases to predict, {len(done)} complete (part {work.part} of {work.parts})")
    summary = Summary(skipped=len(done))
    for name, error in cohort.failed.items():
        _fail(name, error, summary)
    describe = partial(write_description, session.predictor, source, session.model, output, work, session.warning)
    _predict(session, todo, work, summary, describe)
    finish(output, has_tables=exporter.label is not None)
    return summary


def finish(output: OutputOptions, has_tables: bool) -> None:
    """Tables and viewer of all that is in the prediction folder, whoever predicted it; nothing for nothing."""
    if not cases_in(output.folder):
        return
    if has_tables:
        write_tables(output.folder)
    if output.viewer and (page := write_page(output.folder)) is not None:
        print(f"viewer: {page}")


def is_complete(case: Case, exporter: Exporter) -> bool:
    """Whether all results that are asked for are there, of what is known of the case now."""
    ending, folder = str(exporter.dataset["file_ending"]), exporter.output.folder
    if not results_of(case, exporter.layout.labels, ending, exporter.output).complete(folder):
        return False
    record = read_json(folder / CASES / f"{case.name}.json", error=DataError)
    told = record.get("text", {}).get("told", {}) == case.text.to_json()
    told = told and record.get(PRIOR) == exporter.prior_of(case).get(PRIOR)
    return bool(told and (exporter.label is None or record.get("known", {}) == case.known.to_json()))


def export_case(exporter: Exporter, item: Export) -> dict[str, Any]:
    """Exporter.export for one item; a plain function, so that it travels to other processes."""
    case, predicted, properties, seconds, notes = item
    return exporter.export(case, predicted, properties, seconds, notes)


def _predict(
    session: Session, cases: Sequence[Case], work: WorkOptions, summary: Summary, describe: Callable[[], None]
) -> None:
    exporter, foreign, described = session.exporter, session.foreign, False
    attempt = _Attempt(summary, foreign, exporter.output.folder / LOG)
    prepare = partial(
        prepare_case,
        plans=exporter.plans,
        configuration=exporter.configuration,
        dataset=dict(exporter.dataset),
        channels=session.channels,
        training=session.training,
    )
    exports: deque[tuple[Case, Pending[dict[str, Any]]]] = deque()
    with (
        workers(prepare, min(work.preprocessing, len(cases))) as readers,
        workers(partial(export_case, exporter), min(work.export, len(cases))) as writers,
    ):
        for case, prepared in _readable(readers, cases, attempt):
            if not described:
                described = True
                describe()
            start = time.perf_counter()
            data = torch.from_numpy(prepared.data)
            told, layout = session.reader.told(case.text), exporter.layout.told(case.text)
            network = partial(session.predictor.predict_case, case.name, data, case.missing, told, layout)
            predicted = attempt(case.name, "predicted", network)
            if predicted is not None:
                seconds = {"preprocess": prepared.seconds, "predict": time.perf_counter() - start}
                exports.append((case, writers.submit((case, predicted, prepared.properties, seconds, prepared.notes))))
            foreign.write(exporter.output.folder / LOG)
            while len(exports) > 2 * work.export:
                _collect(*exports.popleft(), summary, attempt)
        for export in exports:
            _collect(*export, summary, attempt)


@dataclass(frozen=True)
class _Attempt:
    """One step of one case: whatever ends it is that case's failure, and the others go on."""

    summary: Summary
    foreign: ForeignOutput
    log: Path

    def __call__(self, case: str, step: str, work: Callable[[], T]) -> T | None:
        """What `work` returns; None if it failed."""
        try:
            with self.foreign.capture():
                return self._explained(case, step, work)
        except TextGuidedError as error:
            _fail(case, str(error), self.summary)
            self.foreign.write(self.log)
            return None

    def _explained(self, case: str, step: str, work: Callable[[], T]) -> T:
        try:
            return work()
        except TextGuidedError:
            raise
        except Exception as error:  # of nnU-Net, torch, ITK or the disk: what they raise is not of one kind
            traceback.print_exc(file=sys.stdout)  # which is collected for the log
            reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
            where = f"case {case}; the traceback is in {self.log}"
            raise DataError(f"The case could not be {step}: {reason}", where=where) from error


def _readable(
    readers: Workers[Case, Prepared], cases: Sequence[Case], attempt: _Attempt
) -> Iterator[tuple[Case, Prepared]]:
    for case, future in readers.ahead(cases):
        prepared = attempt(case.name, "read and preprocessed", future.result)
        if prepared is not None:
            yield case, prepared


def _collect(case: Case, future: Pending[dict[str, Any]], summary: Summary, attempt: _Attempt) -> None:
    record = attempt(case.name, "exported", future.result)
    if record is None:
        return
    summary.predicted.append(case.name)
    remarks = list(record["remarks"])
    if (record.get("training_distance") or 0) >= UNLIKE:
        remarks.append(f"unlike the training data: {record['unlike_training']}")
    if remarks:
        summary.remarks[case.name] = remarks
    likelihood = record.get("case_likelihood")
    found = "" if likelihood is None else f", {len(record['candidates'])} candidates, likelihood {likelihood:.3f}"
    took = ", ".join(f"{step} {value:.1f} s" for step, value in record["seconds"].items())
    print(f"{case.name}{found} ({took})", flush=True)


def _fail(case: str, error: str, summary: Summary) -> None:
    summary.failed[case] = error
    print(f"FAILED {case}", flush=True)
