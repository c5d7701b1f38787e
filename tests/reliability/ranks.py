"""The trainer on several gloo processes, each with its own data, as nnU-Net runs it on several GPUs."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch import multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from tests.datasets import Workspace
from tests.reliability.pinned import CONFIGURATION, PinnedTrainer


class RankTrainer(PinnedTrainer):
    """One rank. Its last one sees background only, and is slow."""

    dies_in_epoch: int | None = None

    # nnU-Net looks up the names of this signature among its own arguments: *args would not be found there.
    def __init__(self, plans: dict, configuration: str, fold: int, dataset_json: dict, device: torch.device) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        # nnU-Net takes for granted that several processes are several GPUs.
        self.device, self.grad_scaler = torch.device("cpu"), None
        self.odd_one = self.local_rank == dist.get_world_size() - 1
        self.fingerprints: list[str] = []
        self.phases: list[str] = []
        self.batch_sizes: set[int] = set()

    def train_step(self, batch: dict) -> dict:
        if self.odd_one:
            if self.current_epoch == self.dies_in_epoch:
                os.kill(os.getpid(), signal.SIGKILL)
            batch = {**batch, "target": [torch.zeros_like(target) for target in batch["target"]]}
            time.sleep(0.1)
        self.batch_sizes.add(len(batch["data"]))
        return super().train_step(batch)

    def on_epoch_end(self) -> None:
        digest = hashlib.sha256()
        for name, value in self.bare_network.state_dict().items():
            digest.update(name.encode() + value.contiguous().numpy().tobytes())
        self.fingerprints.append(digest.hexdigest())
        self.phases.append(self.weights.phase)
        super().on_epoch_end()


def _rank(rank: int, world: int, port: int, root: Path, dies_in_epoch: int | None) -> None:
    import nnunetv2.training.nnUNetTrainer.nnUNetTrainer as module
    from nnunetv2.training.logging.nnunet_logger import LocalLogger

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=world)
    module.DDP = lambda network, device_ids: DistributedDataParallel(network)
    LocalLogger.plot_progress_png = lambda self, folder: None
    RankTrainer.dies_in_epoch = dies_in_epoch
    plans = json.loads(Workspace(root).plans_path().read_text())
    dataset = json.loads((Workspace(root).plans_path().parent / "dataset.json").read_text())
    trainer = RankTrainer({**plans, "continue_training": False}, CONFIGURATION, 0, dataset, torch.device("cpu"))
    trainer.run_training()
    facts = {
        "fingerprints": trainer.fingerprints,
        "phases": trainer.phases,
        "batch sizes": sorted(trainer.batch_sizes),
        "losses": [float(value) for value in trainer.logger.get_value("train_losses", None)],
    }
    (root / f"rank_{rank}.json").write_text(json.dumps(facts))
    dist.destroy_process_group()


def job(root: Path, world: int, dies_in_epoch: int | None = None) -> list[dict[str, Any]]:
    """All ranks, started and joined by torch's launcher as nnU-Net does; what each of them saw."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = int(s.getsockname()[1])
    # torch.multiprocessing.spawn, which nnU-Net calls, is this with another way to start a process.
    mp.start_processes(_rank, (world, port, root, dies_in_epoch), nprocs=world, join=True, start_method="fork")
    return [json.loads((root / f"rank_{rank}.json").read_text()) for rank in range(world)]
