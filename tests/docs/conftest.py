"""A user's environment in which the documentation's code blocks run."""

from __future__ import annotations

import pytest
import torch

from tests.docs.dataset import prepare
from tests.packaging.environment import Environment, write_commands

# Readers are assumed to have a GPU; where there is none, these commands have to be told. Predicting in the main process
# instead of six others changes nothing but the time.
CPU = "" if torch.cuda.is_available() else " -device cpu"
ADDED = {"nnUNetv2_train": CPU, "nnUNetv2_predict": f"{CPU} -npp 0 -nps 0"}


@pytest.fixture
def user(installed: Environment, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """This project installed, nnU-Net's commands beside it, and the data set that the documentation names."""
    if not list((installed.nnunet / "preprocessed").glob("*/nnUNetPlans.json")):
        prepare(installed.nnunet, monkeypatch)
    write_commands(installed, "nnunetv2", ADDED)
    return installed
