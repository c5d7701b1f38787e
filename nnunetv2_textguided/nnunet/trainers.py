"""nnU-Net's trainers: found and built as its commands do it. Nothing of nnU-Net is imported before it is asked for."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any


def stock_lookup(name: str) -> type[Any]:
    """What `nnUNetv2_train -tr <name>` does to find a trainer, without its messages.

    Raises:
        RuntimeError: there is none of this name.
        AssertionError: the class of this name is no trainer.
    """
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of the libraries that all those trainers import
        found: type[Any] = recursive_find_trainer_class_by_name(name)
    return found


def imported_trainers() -> set[str]:
    """The names of the trainers that are imported by now: all that there are, once a look-up has failed."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    names, classes = set(), [nnUNetTrainer]
    while classes:
        each = classes.pop()
        names.add(each.__name__)
        classes += each.__subclasses__()
    return names


def make_trainer(dataset: str, configuration: str, fold: int | str, trainer: str, plans: str, device: Any) -> Any:
    """The trainer that `nnUNetv2_train` would run, not initialised."""
    from nnunetv2.run.run_training import get_trainer_from_args

    return get_trainer_from_args(dataset, configuration, fold, trainer, plans, device=device)
