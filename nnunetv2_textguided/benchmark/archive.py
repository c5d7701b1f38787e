"""From the PI-CAI archive to the five-fold table: its commands, in order, and which of them are done.

What is done is read from the files that each command leaves; none of them is run twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from nnunetv2_textguided.anatomy.preprocessing import find_jobs
from nnunetv2_textguided.benchmark.cells import FINAL, next_step
from nnunetv2_textguided.benchmark.cells import Step as CellStep
from nnunetv2_textguided.benchmark.refiner_off import is_switched_off, write_refiner_off
from nnunetv2_textguided.benchmark.report.export import PAGE
from nnunetv2_textguided.benchmark.request import Request
from nnunetv2_textguided.benchmark.rows import CONFIGURATION, Row, rows_planned, write_row_plans
from nnunetv2_textguided.benchmark.study import Cell
from nnunetv2_textguided.errors import DataError, TextGuidedError
from nnunetv2_textguided.files import read_json, visible, write_json
from nnunetv2_textguided.nnunet.folders import RAW, REFERENCES, Folders, required_path
from nnunetv2_textguided.nnunet.plans import merged_configuration, read_plans
from nnunetv2_textguided.nnunet.raw import training_cases
from nnunetv2_textguided.nnunet.splits import SPLITS, read_splits
from nnunetv2_textguided.nnunet.variant import Variant
from nnunetv2_textguided.picai.archive import scan_archive
from nnunetv2_textguided.picai.label_sources import scan_labels
from nnunetv2_textguided.picai.marksheet import MARKSHEET, read_marksheet
from nnunetv2_textguided.picai.preparation import REPORT, dataset_folder
from nnunetv2_textguided.text.resolve import FILE_NAME

FOLDER = "picai_benchmark"
"""In the data set's folder in nnUNet_results: logs of nnU-Net's commands, and the options that steps were done with."""
STEPS = (
    *("prepare", "fingerprint", "plan", "preprocess", "anatomy", "encode", "rows"),
    *("run", "switch_off", "validate", "report", "compare"),
)
"""Without --encoder there is no `encode`, without a row of another's networks no `switch_off` and `validate`."""
KEPT = ("prepare", "fingerprint", "plan", "encode")
"""Steps whose options make what they write."""
CLASSES = ("--classes", "anatomy")


@dataclass(frozen=True)
class Step:
    """One of the commands.

    Attributes:
        name: of STEPS.
        words: the command as a user types it, nnU-Net's or a subcommand of this program; none: `Pipeline.write`.
        is_done: asked only where all earlier steps are done.
    """

    name: str
    words: tuple[str, ...]
    is_done: Callable[[], bool]


class Pipeline:
    """The steps of a request, in nnU-Net's folders.

    Raises:
        DataError: one of nnU-Net's variables is not set; there is no archive, no labels, no marksheet; the data set's
            number is taken; or a step was done with other options.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        folders = Folders.from_environment()
        self.raw = dataset_folder(required_path(RAW), request.number, "PICAI")
        self.dataset = self.raw.name
        self.preprocessed, self.results = folders.preprocessed / self.dataset, folders.results / self.dataset
        self._fingerprint = self.preprocessed / "dataset_fingerprint.json"
        self._plans = self.preprocessed / f"{request.plans}.json"
        self._notes = self.results / FOLDER / "options.json"
        self.studies = frozenset(scan_archive(request.images).studies)
        scan_labels(request.labels)
        read_marksheet(request.labels / MARKSHEET)
        self._check_options()

    # ------------------------------------------------------------------ the commands

    @property
    def steps(self) -> tuple[Step, ...]:
        """All commands, in order."""
        r, number = self.request, str(self.request.number)
        data, where, workers = ("-d", number), ("-c", CONFIGURATION), str(r.processes)
        no_text = next((row for row in r.rows if row.name == "no_text"), r.rows[0]).model(r.plans).name
        archive = ("--images", str(r.images), "--labels", str(r.labels))
        report = ("benchmark", "report", *r.words(r.rows), "--baseline", no_text, "-o", str(self.page.parent))
        table, method = str(self.page.with_name("per_case.csv")), r.names(r.rows)[0]
        preprocess = ("nnUNetv2_preprocess", *data, "-plans_name", r.plans, *where, "-np", workers)
        steps = (
            Step("prepare", ("picai", "prepare", *archive, *data, *CLASSES, "--jobs", workers), self._prepared),
            Step("fingerprint", ("nnUNetv2_extract_fingerprint", *data, "-np", workers, "--clean"), self._measured),
            Step("plan", ("plan", *data, "--plans-name", r.plans), self._planned),
            Step("preprocess", preprocess, self._preprocessed),
            Step("anatomy", ("anatomy", *data, *where, "-p", r.plans, "-np", workers), self._has_anatomy),
            Step("encode", ("encode", *data, "--encoder", r.encoder or ""), (self.preprocessed / FILE_NAME).is_file),
            Step("rows", (), lambda: rows_planned(r.rows, self.preprocessed, r.plans)),
            Step("run", ("benchmark", "run", *r.words(r.trained), *r.training), lambda: not self.missing(r.trained)),
            Step("switch_off", (), lambda: all(is_switched_off(*pair) for _, *pair in self._pairs())),
            Step(
                "validate", ("benchmark", "run", *r.words(r.derived), *r.training), lambda: not self.missing(r.derived)
            ),
            Step("report", report, self._reported),
            Step("compare", ("benchmark", "compare", table, "--baseline", method), lambda: False),
        )
        left_out = [*([] if r.encoder else ["encode"]), *([] if r.derived else ["switch_off", "validate"])]
        return tuple(
            replace(step, words=(*step.words, *r.options.get(step.name, ())))
            for step in steps
            if step.name not in left_out
        )

    def write(self, step: Step) -> None:
        """Do a step that is no command."""
        r = self.request
        if step.name == "rows":
            write_row_plans(r.rows, self.preprocessed, r.plans)
            return
        for model, trained, target in self._pairs():
            if not is_switched_off(trained, target):
                write_refiner_off(trained, target, model.plans, CONFIGURATION)

    def done(self) -> tuple[str, ...]:
        """The names of the steps that need not be run: those at the beginning that are done."""
        return tuple(step.name for step in takewhile(lambda step: step.is_done(), self.steps))

    def note(self, step: Step) -> None:
        """Note the options of a step that is done, for `--options` of later runs."""
        write_json(self._notes, {**self._noted(), step.name: self._options(step.name)})

    def _check_options(self) -> None:
        for name, before in self._noted().items():
            if name in KEPT and (now := self._options(name)) != before:
                raise DataError(
                    f"The step {name} was done with the options {' '.join(before) or '(none)'}, not with "
                    f"{' '.join(now) or '(none)'}.",
                    where=self._notes,
                    remedy="Give the same options, or another -d.",
                )

    def _noted(self) -> dict[str, list[str]]:
        return read_json(self._notes, error=DataError) if self._notes.is_file() else {}

    def _options(self, name: str) -> list[str]:
        encoder = [self.request.encoder] if name == "encode" and self.request.encoder else []
        return [*encoder, *self.request.options.get(name, ())]

    # ------------------------------------------------------------------ what there is

    def cells(self, rows: Sequence[Row] | None = None) -> list[Cell]:
        """The trainings of some rows, or of all."""
        return self.request.cells(self.dataset, self.request.rows if rows is None else rows)

    def _pairs(self) -> Iterator[tuple[Variant, Path, Path]]:
        """Models whose networks are another row's: the other's checkpoint, and where theirs belongs."""
        models = {row.name: row.model(self.request.plans) for row in self.request.rows}
        for row in self.request.derived:
            for cell in self.cells([row]):
                other = replace(cell, variant=models[row.networks])
                yield cell.model, self.folder(other) / FINAL, self.folder(cell) / FINAL

    @property
    def page(self) -> Path:
        """The report."""
        return self.results / f"benchmark_{CONFIGURATION}" / PAGE

    @property
    def logs(self) -> Path:
        """Where the output of nnU-Net's commands goes."""
        return self.results / FOLDER

    def folder(self, cell: Cell) -> Path:
        """nnU-Net's folder of a training."""
        return cell.folder(self.results.parent, self.dataset)

    def missing(self, rows: Sequence[Row] | None = None) -> list[Cell]:
        """The trainings of some rows, or of all, that are not done."""
        splits = self.preprocessed / SPLITS
        cases = [tuple(fold["val"]) for fold in read_splits(splits)] if splits.is_file() else []
        return [
            cell
            for cell in self.cells(rows)
            if cell.fold >= len(cases) or next_step(self.folder(cell), cases[cell.fold]) is not CellStep.NOTHING
        ]

    def _cases(self) -> set[str]:
        return training_cases(self.raw, read_json(self.raw / "dataset.json", error=DataError))

    def _prepared(self) -> bool:
        if not (self.raw / REPORT).is_file() or not (self.raw / "dataset.json").is_file():
            return False
        report = read_json(self.raw / REPORT, error=DataError)
        seen = {case for part in ("prepared", "up_to_date", "kept", "skipped") for case in report[part]}
        return not report["failed"] and self.studies <= seen

    def _measured(self) -> bool:
        """Whether there is a fingerprint of all cases; nnU-Net writes it in place, so that a kill leaves a half."""
        try:
            return len(read_json(self._fingerprint)["shapes_after_crop"]) == len(self._cases())
        except TextGuidedError:
            return False

    def _planned(self) -> bool:
        plans = self._plans
        return plans.is_file() and plans.stat().st_mtime >= self._fingerprint.stat().st_mtime

    def _preprocessed(self) -> bool:
        """Whether nnU-Net preprocessed all cases: it copies their label maps last."""
        identifier = merged_configuration(read_plans(self._plans), CONFIGURATION)["data_identifier"]
        made = {path.stem for path in visible(self.preprocessed / identifier, "*.pkl")}
        ending = read_json(self.raw / "dataset.json", error=DataError)["file_ending"]
        copied = {path.name.removesuffix(ending) for path in visible(self.preprocessed / REFERENCES)}
        return self._cases() <= made & copied

    def _has_anatomy(self) -> bool:
        jobs = find_jobs(self.raw, self.preprocessed, self.request.plans, CONFIGURATION)
        return all(job.is_done for job in jobs)

    def _reported(self) -> bool:
        """Whether the page is newer than every validation."""
        summaries = [self.folder(cell) / "validation" / "summary.json" for cell in self.cells()]
        return self.page.is_file() and self.page.stat().st_mtime >= max(path.stat().st_mtime for path in summaries)
