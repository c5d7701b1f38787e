"""A user's environment in which the documentation's code blocks run."""

from __future__ import annotations

import importlib.metadata
import shlex

import pytest
import torch

from tests.docs.dataset import prepare
from tests.packaging.environment import Environment

# Readers are assumed to have a GPU; where there is none, these commands have to be told. Predicting in the main process
# instead of six others changes nothing but the time.
CPU = "" if torch.cuda.is_available() else " -device cpu"
ADDED = {"nnUNetv2_train": CPU, "nnUNetv2_predict": f"{CPU} -npp 0 -nps 0"}


@pytest.fixture
def user(installed: Environment, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """This project installed, nnU-Net's commands beside it, and the data set that the documentation names."""
    if not list((installed.nnunet / "preprocessed").glob("*/nnUNetPlans.json")):
        prepare(installed.nnunet, monkeypatch)
    for entry in importlib.metadata.distribution("nnunetv2").entry_points:
        write_command(installed, entry)
    return installed


def write_command(environment: Environment, entry: importlib.metadata.EntryPoint) -> None:
    """One of nnU-Net's commands, as pip would install it into `environment`, with the options in ADDED."""
    code = f"import sys; from {entry.module} import {entry.attr} as run; sys.argv[0] = {entry.name!r}; sys.exit(run())"
    target = environment.folder / "bin" / entry.name
    command = f"{shlex.quote(str(environment.python))} -c {shlex.quote(code)}"
    target.write_text(f'#!/bin/sh\nexec {command} "$@"{ADDED.get(entry.name, "")}\n', encoding="utf-8")
    target.chmod(0o755)
