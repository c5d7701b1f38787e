"""Several processes: the same parameters on all of them after every epoch, and an end if one of them dies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.datasets import Workspace
from tests.reliability.isolation import Isolation
from tests.reliability.ranks import job

Copy = Callable[[str], Path]


def with_batch_size(root: Path, size: int) -> Path:
    path = Workspace(root).plans_path()
    plans = json.loads(path.read_text())
    plans["configurations"]["3d_fullres"]["batch_size"] = size
    path.write_text(json.dumps(plans))
    return root


@pytest.mark.slow
@pytest.mark.parametrize(("world", "batch_size"), [(2, 3), (4, 5)])
def test_parameters_are_bit_equal_on_all_ranks_after_every_epoch(
    isolation: Isolation, copy_planned: Copy, world: int, batch_size: int
) -> None:
    """Uneven batches; the last rank sees background only, and is slow."""
    root = with_batch_size(copy_planned("ranks"), batch_size)
    first, *others = isolation.run(root, job, root, world)
    assert first["phases"] == ["warm-up", "ramp", "align", "refine", "refine", "refine"]
    assert len(set(first["fingerprints"])) == 6  # something is learned in every epoch
    assert all(other["fingerprints"] == first["fingerprints"] for other in others)
    assert all(other["losses"] == first["losses"] for other in others)
    assert np.isfinite(first["losses"]).all()
    assert first["batch sizes"] == [2]
    assert others[-1]["batch sizes"] == [1]


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_job_with_an_error(isolation: Isolation, copy_planned: Copy) -> None:
    root = with_batch_size(copy_planned("ranks"), 2)
    child = isolation.start(root, job, root, 2, 1)
    assert child.finish() == 1  # the launcher's exit, not this test's time limit
    assert "process 1 terminated with signal SIGKILL" in child.output
