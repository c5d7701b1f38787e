"""Checks that stock nnU-Net finds the trainers, and that what it finds is the class that the package defines."""

from __future__ import annotations

import importlib
import os
import pickle
import site
from pathlib import Path

from nnunetv2_textguided.commands.doctor.result import CheckResult, fails, works
from nnunetv2_textguided.nnunet.trainers import stock_lookup
from nnunetv2_textguided.startup import OPT_OUT, VARIABLE, shim_folder

TRAINER = "nnUNetTrainerAlignRefine"
_NOT_FOUND = fails("There is no class to check: the stock lookup fails.", "Repair the stock lookup first.")
_EXPORT = 'eval "$(nnUNetv2_textguided env)"  (and in the file that your shell reads at start)'


def check_registered() -> CheckResult:
    """nnUNet_extTrainer names the shim folder in a fresh interpreter."""
    folder = shim_folder()
    if folder is None:
        return fails(
            f"There is no folder of trainers that {VARIABLE} could name.",
            f"Reinstall nnunetv2-textguided, into a path without '{os.pathsep}'.",
        )
    if folder in os.environ.get(VARIABLE, "").split(os.pathsep):
        return works(f"{VARIABLE} names {folder}")
    if os.environ.get(OPT_OUT, "0") not in ("", "0"):
        return fails(f"{OPT_OUT} is set, so {VARIABLE} does not name {folder}.", f"Unset it, or: {_EXPORT}")
    folders = [*site.getsitepackages(), site.getusersitepackages()]
    if not any((Path(place) / "nnunetv2_textguided.pth").is_file() for place in folders):
        return fails(
            "The package was not installed by pip or uv into this environment: its start-up file is in none of the "
            f"folders where this Python looks for such files ({', '.join(folders)}).",
            f"pip install nnunetv2-textguided, or: {_EXPORT}",
        )
    return fails("This Python did not run the start-up file nnunetv2_textguided.pth (python -S?).", _EXPORT)


def check_lookup() -> CheckResult:
    """nnU-Net's own lookup finds the trainer."""
    try:
        found = stock_lookup(TRAINER)
    except Exception as error:  # nnU-Net imports all of its own trainers first: anything can go wrong there
        return fails(
            f"nnU-Net cannot find {TRAINER}.",
            "Repair what the last lines of the traceback name. nnU-Net imports all of its own trainers, and every "
            f"folder in {VARIABLE}, before it comes to this one.",
            error,
        )
    return works(f"-tr {TRAINER} is {found.__module__}.{found.__qualname__}")


def check_all_trainers() -> CheckResult:
    """So it does every other trainer of this package."""
    missing: list[str] = []
    last: Exception | None = None
    try:
        names = importlib.import_module("nnunetv2_textguided.training").__all__
    except Exception as error:  # see check_lookup
        return fails("The package's trainers cannot be imported.", "Repair what the traceback names.", error)
    for name in names:
        try:
            stock_lookup(name)
        except Exception as error:  # see check_lookup
            missing.append(name)
            last = error
    if missing:
        return fails(f"Not found: {', '.join(missing)}.", "Repair the stock lookup; this is the last traceback.", last)
    return works(f"{len(names)} found")


def check_identity() -> CheckResult:
    """The class found is the one that the package defines, each time: two would break checkpoints and isinstance."""
    try:
        found, again = stock_lookup(TRAINER), stock_lookup(TRAINER)
    except Exception:  # check_lookup shows it
        return _NOT_FOUND
    defined = getattr(importlib.import_module(found.__module__), TRAINER, None)
    if found is defined is again and found.__module__.startswith("nnunetv2_textguided."):
        return works("one class, however often it is looked up")
    return fails(
        f"The lookup returns {found.__module__}.{found.__qualname__}, which is not the class of this package.",
        f"Remove copies of the trainer from nnunetv2's own folder and from the folders in {VARIABLE}.",
    )


def check_pickling() -> CheckResult:
    """The class survives pickling, which multi-processing needs."""
    try:
        found = stock_lookup(TRAINER)
    except Exception:  # check_lookup shows it
        return _NOT_FOUND
    remedy = "Reinstall nnunetv2-textguided, and remove copies of its trainers from elsewhere."
    try:
        same = pickle.loads(pickle.dumps(found)) is found
    except (pickle.PickleError, AttributeError, ImportError) as error:
        return fails(f"{TRAINER} cannot be pickled.", remedy, error)
    if not same:
        return fails(f"{TRAINER} comes back from pickling as another class.", remedy)
    return works("the class survives pickling")
