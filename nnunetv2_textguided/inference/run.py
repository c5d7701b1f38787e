"""Predict a folder: preprocess ahead, predict, export in the background, one case's failure being that case's."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nnunetv2_textguided.errors import TextGuidedError
from nnunetv2_textguided.files import write_json
from nnunetv2_textguided.inference.cases import Case, find_cases, remove_leftovers, results_of
from nnunetv2_textguided.inference.exchange import exchange_prompts
from nnunetv2_textguided.inference.export import Exporter
from nnunetv2_textguided.inference.lesions import check_candidates
from nnunetv2_textguided.inference.loading import load_predictor, make_exporter
from nnunetv2_textguided.inference.options import ModelOptions, OutputOptions, WorkOptions
from nnunetv2_textguided.inference.predictor import TextGuidedPredictor
from nnunetv2_textguided.inference.prepare import Prepared, prepare_case
from nnunetv2_textguided.inference.tables import write_tables
from nnunetv2_textguided.inference.viewer.page import write_page
from nnunetv2_textguided.inference.zones import zone_file
from nnunetv2_textguided.nnunet.plans import image_channels
from nnunetv2_textguided.processes.background import Pending, Workers, workers


@dataclass
class Summary:
    """What became of the cases of one part.

    Attributes:
        predicted: cases that were predicted.
        skipped: number of cases that were complete before.
        failed: what was wrong with each case that has no result.
    """

    predicted: list[str] = field(default_factory=list)
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)


Export = tuple[Case, np.ndarray, dict[str, Any], dict[str, float]]


def predict_folder(source: Path, model: ModelOptions, output: OutputOptions, work: WorkOptions) -> Summary:
    """Predict the cases of an nnU-Net image folder.

    Raises:
        TextGuidedError: nothing can be predicted: model, input folder or options are not valid.
    """
    check_candidates(output.candidates)
    predictor = load_predictor(model)
    warning = None
    if model.prompts is not None or model.embeddings is not None:
        warning = exchange_prompts(predictor, model.prompts, model.embeddings, model.encoder)
        print(warning)
    if output.heatmaps or (output.viewer and predictor.settings is not None and predictor.settings.uses_text):
        predictor.explain()
    exporter = make_exporter(predictor, output)
    channels = image_channels(predictor.plans_manager, predictor.configuration_manager, predictor.dataset_json)
    cases = find_cases(source, predictor.dataset_json["file_ending"], channels)[work.part :: work.parts]
    for case in cases if output.zones is not None else ():
        zone_file(output.zones or Path(), case.name)
    remove_leftovers(output.folder, {case.name for case in cases})
    write_description(predictor, source, model, output, work, warning)
    todo = [case for case in cases if not (work.continued and is_complete(case, exporter))]
    print(f"{len(todo)} cases to predict, {len(cases) - len(todo)} complete (part {work.part} of {work.parts})")
    summary = Summary(skipped=len(cases) - len(todo))
    _predict(predictor, exporter, todo, work, summary)
    finish(output, has_tables=exporter.label is not None)
    return summary


def finish(output: OutputOptions, has_tables: bool) -> None:
    """Tables and viewer of all that is in the prediction folder, whoever predicted it."""
    if has_tables:
        write_tables(output.folder)
    if output.viewer:
        print(f"viewer: {write_page(output.folder)}")


def is_complete(case: Case, exporter: Exporter) -> bool:
    """Whether all results that are asked for are there."""
    ending = str(exporter.dataset["file_ending"])
    return results_of(case.name, exporter.layout.labels, ending, exporter.output).complete(exporter.output.folder)


def write_description(
    predictor: TextGuidedPredictor,
    source: Path,
    model: ModelOptions,
    output: OutputOptions,
    work: WorkOptions,
    warning: str | None,
) -> None:
    """What nnU-Net writes beside its predictions: the model's plans and dataset.json, and what was asked for."""
    asked = {"input": str(source), "model": asdict(model), "output": asdict(output), "work": asdict(work)}
    if warning is not None:
        asked["warning"] = warning
    write_json(output.folder / "predict_from_raw_data_args.json", _plain(asked))
    write_json(output.folder / "dataset.json", predictor.dataset_json)
    write_json(output.folder / "plans.json", predictor.plans_manager.plans)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def export_case(exporter: Exporter, item: Export) -> dict[str, Any]:
    """Exporter.export for one item; a plain function, so that it travels to other processes."""
    case, predicted, properties, seconds = item
    return exporter.export(case, predicted, properties, seconds)


def _predict(
    predictor: TextGuidedPredictor, exporter: Exporter, cases: Sequence[Case], work: WorkOptions, summary: Summary
) -> None:
    prepare = partial(
        prepare_case, plans=exporter.plans, configuration=exporter.configuration, dataset=dict(exporter.dataset)
    )
    exports: deque[tuple[Case, Pending[dict[str, Any]]]] = deque()
    with (
        workers(prepare, min(work.preprocessing, len(cases))) as readers,
        workers(partial(export_case, exporter), min(work.export, len(cases))) as writers,
    ):
        for case, prepared in _readable(readers, cases, summary):
            start = time.perf_counter()
            # NumPy arrays, as in nnU-Net: tensors cross process borders through shared memory, which can run out.
            predicted = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(prepared.data)).cpu().numpy()
            seconds = {"preprocess": prepared.seconds, "predict": time.perf_counter() - start}
            exports.append((case, writers.submit((case, predicted, prepared.properties, seconds))))
            while len(exports) > 2 * work.export:
                _collect(*exports.popleft(), summary)
        for export in exports:
            _collect(*export, summary)


def _readable(
    readers: Workers[Case, Prepared], cases: Sequence[Case], summary: Summary
) -> Iterator[tuple[Case, Prepared]]:
    for case, future in readers.ahead(cases):
        try:
            yield case, future.result()
        except TextGuidedError as error:
            _fail(case, error, summary)


def _collect(case: Case, future: Pending[dict[str, Any]], summary: Summary) -> None:
    try:
        record = future.result()
    except TextGuidedError as error:
        _fail(case, error, summary)
        return
    summary.predicted.append(case.name)
    likelihood = record.get("case_likelihood")
    found = "" if likelihood is None else f", {len(record['candidates'])} candidates, likelihood {likelihood:.3f}"
    took = ", ".join(f"{step} {value:.1f} s" for step, value in record["seconds"].items())
    print(f"{case.name}{found} ({took})", flush=True)


def _fail(case: Case, error: TextGuidedError, summary: Summary) -> None:
    summary.failed[case.name] = str(error)
    print(f"FAILED {case.name}: {error}", flush=True)
