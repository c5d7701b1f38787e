"""One parameter group per part of the network, each with its own learning rate and polynomial decay."""

from __future__ import annotations

from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from nnunetv2_textguided.network import AlignRefineUNet
from nnunetv2_textguided.schedule import network_epochs, refine_epoch
from nnunetv2_textguided.settings import Settings

_TEXT_PARTS = ("alignment", "grounding", "clinical", "text_embeddings", "text_tokens")
GROUPS = ("backbone", "text", "refiner")


def build_optimiser(network: AlignRefineUNet, settings: Settings) -> SGD:
    """nnU-Net's SGD with the groups of `GROUPS`, fixed for the whole training.

    The groups exist in this order even where one is empty, so that a checkpoint's optimiser state always fits, and
    nnU-Net's log shows the backbone's rate (its first group).
    """
    options = settings.optimiser
    members: dict[str, list[nn.Parameter]] = {name: [] for name in GROUPS}
    for name, parameter in network.named_parameters():
        members[_group(name)].append(parameter)
    momentum = {"backbone": options.momentum, "text": options.momentum, "refiner": options.refiner_momentum}
    rates = {"backbone": options.lr, "text": options.text_lr, "refiner": options.refiner_lr}
    groups = [
        {
            "params": members[name],
            "name": name,
            "lr": rates[name],
            "momentum": momentum[name],
            "nesterov": momentum[name] > 0,
            # While alpha is 0 the refiner gets no gradient: weight decay would shrink it before it is ever used.
            "weight_decay": 0.0 if name == "refiner" else options.weight_decay,
        }
        for name in GROUPS
    ]
    return SGD(groups, lr=options.lr)


def _group(parameter_name: str) -> str:
    part = parameter_name.split(".")[0]
    if part == "refiner":
        return "refiner"
    return "text" if part in _TEXT_PARTS else "backbone"


class GroupPolyLR(LRScheduler):
    """Polynomial decay of each group from its own rate: lr_g (1 - progress_g)^power.

    nnU-Net's PolyLRScheduler sets all groups to one rate. Like it, this one is driven by `step(epoch)` and keeps no
    state, so that a continued training needs nothing restored. The refiner's progress starts with the refine phase; a
    network to which it is fitted afterwards has a rate of 0 from there.
    """

    def __init__(self, optimizer: Optimizer, num_epochs: int, settings: Settings) -> None:
        self.power = settings.optimiser.power
        self.learning = {"refiner": (refine_epoch(num_epochs, settings), num_epochs)}
        self.others = (0, network_epochs(num_epochs, settings))
        self.initial = [group["lr"] for group in optimizer.param_groups]
        super().__init__(optimizer, last_epoch=-1)

    def step(self, epoch: int | None = None) -> None:
        """Set the rates of `epoch` (0-based); without an argument, those of the next one."""
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        for group, rate in zip(self.optimizer.param_groups, self.initial, strict=True):
            start, end = self.learning.get(group.get("name", ""), self.others)
            progress = min(max(self.last_epoch - start, 0) / max(end - start, 1), 1.0)
            group["lr"] = rate * (1 - progress) ** self.power
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]
