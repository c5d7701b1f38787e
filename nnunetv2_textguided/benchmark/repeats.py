"""The plans of a study's repeats: copies under names of their own, so that nnU-Net keeps their models apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from nnunetv2_textguided.benchmark.study import Study
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import read_json, write_json
from nnunetv2_textguided.nnunet.folders import PREPROCESSED, required_path
from nnunetv2_textguided.nnunet.variant import repeat_plans, split_repeat
from nnunetv2_textguided.settings import BLOCK


def write_repeats(study: Study) -> None:
    """Copy the plans for every repeat but the first. Preprocessed data are named by `data_identifier`, and shared.

    Where the plans set `training.seed`, repeat N has that seed plus N - 1.

    Raises:
        DataError: there are plans of that name, with other content.
    """
    for source, path in missing_plans(study):
        write_json(path, repeated(read_json(source, error=DataError), path.stem))


def repeated(plans: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The plans of a repeat: under its name and, where they have a seed, with its own."""
    copy = deepcopy({**plans, "plans_name": name})
    for configuration in copy.get("configurations", {}).values():
        training = (configuration.get(BLOCK) or {}).get("training") or {}
        if training.get("seed") is not None:
            training["seed"] += split_repeat(name)[1] - 1
    return copy


def missing_plans(study: Study) -> Iterator[tuple[Path, Path]]:
    """The plans that are to be copied, and the copies that repeats lack; DataError where there is another file."""
    folder = required_path(PREPROCESSED) / study.dataset
    for plans in study.plans:
        source = folder / f"{plans}.json"
        original = read_json(source, error=DataError)
        for repeat in range(2, study.repeats + 1):
            path = folder / f"{repeat_plans(plans, repeat)}.json"
            if not path.is_file():
                yield source, path
            elif read_json(path, error=DataError) != repeated(original, path.stem):
                raise DataError(
                    f"The plans of repeat {repeat} are not a copy of {plans}.",
                    where=path,
                    remedy="The plans were changed after the repeat began: give them another name, or delete the copy.",
                )
