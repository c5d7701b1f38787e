"""Two gloo processes train through all phases with equal parameters on both ranks."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from nnunetv2_textguided.losses.guidance import GuidanceLoss
from nnunetv2_textguided.network.calibration import count
from nnunetv2_textguided.schedule import History, phase_weights
from nnunetv2_textguided.settings.presets import resolve
from nnunetv2_textguided.training.optimiser import GroupPolyLR, build_optimiser
from nnunetv2_textguided.training.statistics import sum_over_ranks
from tests.networks import network

EPOCHS = 10


def _worker(rank: int, world: int, port: int, folder: str, only_background: bool) -> None:
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=world)
    net = network({"refiner": {"band": 1e9}}, deep_supervision=True, seed=rank)
    settings = resolve({"refiner": {"band": 1e9}})
    optimiser = build_optimiser(net, settings)
    scheduler = GroupPolyLR(optimiser, EPOCHS, settings)
    guidance = GuidanceLoss([1], None)
    wrapped = DistributedDataParallel(net)
    generator = torch.Generator().manual_seed(100 + rank)
    fingerprints, phases = [], []
    for epoch in range(EPOCHS):
        weights = phase_weights(epoch, EPOCHS, settings, History())
        phases.append(weights.phase)
        scheduler.step(epoch)
        guidance.lambda_align.fill_(weights.align)
        guidance.lambda_heat.fill_(weights.heat)
        net.refiner.alpha.fill_(weights.alpha)  # type: ignore[union-attr]
        # Ranks may have batches of different size, and one may see background only.
        x = torch.randn(1 + rank, 3, 2, 16, 16, generator=generator)
        y = torch.zeros(1 + rank, 1, 2, 16, 16)
        if not (only_background and rank == 1):
            y[..., 4:8, 4:8] = 1
        optimiser.zero_grad(set_to_none=True)
        outputs, similarity = wrapped(x, return_similarity=True)
        loss = torch.nn.functional.cross_entropy(outputs[0], y[:, 0].long())
        loss = loss + 1e-6 * outputs[1].square().mean() + guidance(similarity, y).weighted
        loss.backward()
        optimiser.step()
        fingerprints.append(torch.cat([p.detach().flatten() for p in net.parameters()]))
    shares = guidance.shares(y, similarity.shape[2:])
    mine = count(similarity, shares.foreground, shares.background)
    calibration = net.alignment.calibration  # type: ignore[union-attr]
    calibration.update(sum_over_ranks(mine.clone(), distributed=True))
    learned = {"mine": mine, "mass": calibration.mass, "line": calibration.line}
    torch.save({"weights": torch.stack(fingerprints), "phases": phases, **learned}, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.mark.parametrize("only_background", [False, True])
def test_ranks_stay_bit_equal_through_all_phases(tmp_path: Path, only_background: bool) -> None:
    mp.spawn(_worker, args=(2, _free_port(), str(tmp_path), only_background), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert set(first["phases"]) == {"warm-up", "align", "refine"}
    assert torch.equal(first["weights"], second["weights"])
    moved = (first["weights"][-1] != first["weights"][0]).float().mean()
    assert moved > 0.5
    torch.testing.assert_close(first["mass"], first["mine"] + second["mine"])
    assert torch.equal(first["line"], second["line"])
    assert first["line"].tolist() != [[1, 0]]
