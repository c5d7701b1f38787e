"""What a benchmark left behind: which variant predicted which case, and what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nnunetv2_textguided.anatomy.labels import RAW_FOLDER, anatomy_labels
from nnunetv2_textguided.anatomy.sectors import ZONES
from nnunetv2_textguided.benchmark.cells import networks_of
from nnunetv2_textguided.benchmark.study import Cell, Study, find_repeats
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.cases import read_case_table
from nnunetv2_textguided.evaluation.options import Scoring
from nnunetv2_textguided.evaluation.predictions import Files, find_predictions
from nnunetv2_textguided.evaluation.score import ScoreJob
from nnunetv2_textguided.evaluation.zones import ZoneJob
from nnunetv2_textguided.files import read_json
from nnunetv2_textguided.nnunet.folders import REFERENCES, Folders
from nnunetv2_textguided.nnunet.labels import Target
from nnunetv2_textguided.nnunet.splits import PARTS, Splits, read_splits
from nnunetv2_textguided.nnunet.variant import Variant
from nnunetv2_textguided.picai.dataset_files import CASES, SPLITS


@dataclass(frozen=True)
class Collected:
    """The validated cases of a study.

    Attributes:
        study: what was to be compared.
        folders: nnU-Net's.
        dataset_json: the data set's description.
        splits: its folds.
        cases: case -> fold, of the cases that every compared variant has predicted.
        labels: case -> reference segmentation.
        predictions: model -> case -> files.
        models: variant that is compared -> its trained repeats, each a model.
        missing: what keeps the study from being complete, in words.
        unknown: validated cases that nobody outlined, which are left out.
    """

    study: Study
    folders: Folders
    dataset_json: Mapping[str, Any]
    splits: Splits
    cases: Mapping[str, int]
    labels: Mapping[str, Path]
    predictions: Mapping[Variant, Mapping[str, Files]]
    models: Mapping[Variant, tuple[Variant, ...]]
    missing: tuple[str, ...]
    unknown: tuple[str, ...] = ()

    def without_reference(self, unknown: Collection[str]) -> Collected:
        """Without validated cases that nobody outlined."""
        cases = {case: fold for case, fold in self.cases.items() if case not in unknown}
        return replace(self, cases=cases, unknown=tuple(sorted(unknown)))

    @property
    def variants(self) -> tuple[Variant, ...]:
        """Those that are compared."""
        return tuple(self.models)

    @property
    def networks(self) -> dict[str, str]:
        """Name of each model -> of the one whose trained networks it has."""
        every = {model.name: self.model_folder(model) for models in self.models.values() for model in models}
        return {name: networks_of(folder / f"fold_{self.study.folds[0]}") for name, folder in every.items()}

    @property
    def trainings(self) -> int:
        """How many trainings are compared."""
        return sum(map(len, self.models.values())) * len(self.study.folds)

    def fold_folders(self, variant: Variant) -> list[Path]:
        """nnU-Net's folders of a variant's trainings: of every repeat its folds."""
        folders = (self.model_folder(model) for model in self.models[variant])
        return [folder / f"fold_{fold}" for folder in folders for fold in self.study.folds]

    @property
    def cases_table(self) -> Path | None:
        """The data set's cases.csv, if it has one."""
        parents = (self.folders.raw, self.folders.preprocessed)
        found = (parent / self.study.dataset / CASES for parent in parents if parent is not None)
        return next((path for path in found if path.is_file()), None)

    @property
    def learned_only(self) -> Counter[str]:
        """How many cases are learned from and validated by no fold, by the origin of their labels in cases.csv."""
        known = {} if self.cases_table is None else read_case_table(self.cases_table)
        learned, validated = ({case for fold in self.splits for case in fold[part]} for part in PARTS)
        origins = (known[case].origin if case in known else "" for case in learned - validated)
        return Counter(origin or "origin not known" for origin in origins)

    def score_jobs(self, targets: tuple[Target, ...], scoring: Scoring) -> Iterator[ScoreJob]:
        """What has to be scored."""
        for case, label in self.labels.items():
            files = {model.name: found[case] for model, found in self.predictions.items()}
            yield ScoreJob(case, label, files, targets, scoring)

    def zone_jobs(self, targets: tuple[Target, ...]) -> Iterator[ZoneJob]:
        """The cases that have a zone mask in the raw data set."""
        raw = None if self.folders.raw is None else self.folders.raw / self.study.dataset
        if raw is None or not (raw / RAW_FOLDER).is_dir():
            return
        path = raw / "dataset.json"
        named = anatomy_labels(read_json(path, error=DataError), path)
        zones = {name: value for name, value in named.items() if name in ZONES}
        lesion = frozenset(value for target in targets for value in target.values)
        for case, label in self.labels.items():
            if zones and (mask := raw / RAW_FOLDER / label.name).is_file():
                yield ZoneJob(case, label, mask, lesion, zones)

    def model_folder(self, variant: Variant) -> Path:
        """nnU-Net's folder of a model."""
        return self.folders.results / self.study.dataset / variant.name


def collect(study: Study, folders: Folders, *, allow_incomplete: bool = False) -> Collected:
    """Find the validated cases of every variant, repeat and fold.

    Every repeat of which there is a fold is expected to be complete; variants may have different numbers of repeats.

    Args:
        study: what is compared.
        folders: nnU-Net's.
        allow_incomplete: compare the cases that all variants have, instead of refusing.

    Raises:
        DataError: a fold has not been validated completely (unless allowed), or there is nothing to compare.
    """
    preprocessed = folders.preprocessed / study.dataset
    dataset_json = read_json(preprocessed / "dataset.json", error=DataError)
    splits = read_splits(preprocessed / SPLITS)
    expected = _expected(study, splits, preprocessed / SPLITS)
    ending = str(dataset_json.get("file_ending", ".nii.gz"))
    cells = list(_cells(study, folders.results / study.dataset))
    predictions: dict[Variant, dict[str, Files]] = {cell.model: {} for cell in cells}
    missing: list[str] = []
    for cell in cells:
        wanted = [case for case, fold in expected.items() if fold == cell.fold]
        found, problem = _validated(cell, folders, study.dataset, wanted)
        predictions[cell.model] |= found
        missing += [problem] if problem else []
    if missing and not allow_incomplete:
        raise _incomplete(missing, study, len(cells))
    predictions = {model: found for model, found in predictions.items() if found}
    if not predictions:
        raise DataError("No variant has validated a case.", where=folders.results / study.dataset)
    models = {v: tuple(dict.fromkeys(c.model for c in cells if c.variant == v and c.model in predictions))
              for v in study.variants}  # fmt: skip
    models = {variant: found for variant, found in models.items() if found}
    common = {case: fold for case, fold in expected.items() if all(case in found for found in predictions.values())}
    if not common:
        raise DataError("The variants have no validated case in common.", where=folders.results / study.dataset)
    labels = {case: preprocessed / REFERENCES / f"{case}{ending}" for case in common}
    return Collected(study, folders, dataset_json, splits, common, labels, predictions, models, tuple(missing))


def _cells(study: Study, results: Path) -> Iterator[Cell]:
    for variant in study.variants:
        for repeat in find_repeats(results, variant) or (1,):
            yield from (Cell(variant, fold, repeat) for fold in study.folds)


def _expected(study: Study, splits: Splits, path: Path) -> dict[str, int]:
    """Case -> the fold that validates it."""
    expected: dict[str, int] = {}
    for fold in study.folds:
        if not 0 <= fold < len(splits):
            raise DataError(f"There is no fold {fold}; the file has {len(splits)}.", where=path, remedy="See --folds.")
        for case in splits[fold]["val"]:
            if case in expected:
                raise DataError(
                    f"Case {case} is validated in the folds {expected[case]} and {fold}.",
                    where=path,
                    remedy="A cross-validation validates every case once; correct the folds and train again.",
                )
            expected[case] = fold
    return expected


def _validated(cell: Cell, folders: Folders, dataset: str, wanted: list[str]) -> tuple[dict[str, Files], str | None]:
    """The predictions of one cell, and what is missing of it."""
    name = f"{cell.model.name}, fold {cell.fold}"
    folder = cell.folder(folders.results, dataset) / "validation"
    if not folder.is_dir():
        return {}, f"{name}: not validated"
    try:
        present = find_predictions(folder)
    except DataError:
        return {}, f"{name}: no predictions in {folder}"
    found = {case: present[case] for case in wanted if case in present and present[case].image is not None}
    if len(found) < len(wanted):
        return found, f"{name}: {len(wanted) - len(found)} of {len(wanted)} cases not predicted"
    if not (folder / "summary.json").is_file():
        return found, f"{name}: no summary.json, so nnU-Net's validation was interrupted"
    return found, None


def _incomplete(missing: list[str], study: Study, total: int) -> DataError:
    shown = missing[:12] + ([f"and {len(missing) - 12} more"] if len(missing) > 12 else [])
    return DataError(
        f"The benchmark is incomplete: {len(missing)} of {total} trainings are not validated.\n    "
        + "\n    ".join(shown),
        where=study.dataset,
        remedy="Finish them with `nnUNetv2_textguided benchmark run`, report fewer --folds or --trainers, or pass "
        "--allow-incomplete to compare the cases that all variants have.",
    )


def found_trainers(folders: Folders, dataset: str, configuration: str, plans: tuple[str, ...]) -> tuple[str, ...]:
    """Trainers with results of this configuration and these plans; stock nnU-Net first."""
    return tuple(sorted({t for p in plans for t in _trainers(folders.results / dataset, f"__{p}__{configuration}")}))


def _trainers(results: Path, ending: str) -> Iterator[str]:
    for folder in results.glob(f"*{ending}"):
        if any(folder.glob("fold_*")):
            yield folder.name.removesuffix(ending)
