"""The checks, run one after the other in a fresh interpreter that reports each as a line of JSON."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable, Sequence

from nnunetv2_textguided.commands.doctor import discovery, environment
from nnunetv2_textguided.commands.doctor.result import CheckResult

# In the order in which one failure explains the next.
CHECKS: dict[str, Callable[[], CheckResult]] = {
    "nnU-Net version": environment.check_nnunet_version,
    "torch": environment.check_torch,
    "GPU": environment.check_gpu,
    "torchvision": environment.check_torchvision,
    "discovery": discovery.check_registered,
    "stock lookup": discovery.check_lookup,
    "class identity": discovery.check_identity,
    "pickling": discovery.check_pickling,
    "all trainers": discovery.check_all_trainers,
    "nnUNet_raw": environment.check_raw,
    "nnUNet_preprocessed": environment.check_preprocessed,
    "nnUNet_results": environment.check_results,
    "embedding bank": environment.check_embeddings,
}


def main(names: Sequence[str]) -> None:
    """Run the checks `names`; for each write {"name": ..., "ok": ..., ...} to standard output."""
    report = sys.stdout
    for name in names:
        # Standard output carries the report: what a library prints goes elsewhere.
        with contextlib.redirect_stdout(sys.stderr):
            result = CHECKS[name]()
        print(json.dumps({"name": name, **dataclasses.asdict(result)}), file=report, flush=True)
