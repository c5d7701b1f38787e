"""One parameter group per part of the network, each with its own learning rate and polynomial decay."""

from __future__ import annotations

from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from nnunetv2_textguided.network import AlignRefineUNet
from nnunetv2_textguided.schedule import refine_epoch
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
    rates = {"backbone": options.lr, "text": options.text_lr, "refiner": options.refiner_lr}
    groups = [
        {
            "params": members[name],
            "name": name,
            "lr": rates[name],
            # While alpha is 0 the refiner gets no gradient: weight decay would shrink it before it is ever used.
            "weight_decay": 0.0 if name == "refiner" else options.weight_decay,
        }
        for name in GROUPS
    ]
    return SGD(groups, lr=options.lr, momentum=options.momentum, nesterov=options.momentum > 0)


def _group(parameter_name: str) -> str:
    part = parameter_name.split(".")[0]
    if part == "refiner":
        return "refiner"
    return "text" if part in _TEXT_PARTS else "backbone"


class GroupPolyLR(LRScheduler):
    """Polynomial decay of each group from its own rate: lr_g (1 - progress_g)^power.

    nnU-Net's PolyLRScheduler sets all groups to one rate. Like it, this one is driven by `step(epoch)` and keeps no
    state, so that a continued training needs nothing restored. The refiner's progress starts with the refine phase.
    """

    def __init__(self, optimizer: Optimizer, num_epochs: int, settings: Settings) -> None:
        self.num_epochs, self.power = num_epochs, settings.optimiser.power
        self.starts = {"refiner": refine_epoch(num_epochs, settings.schedule)}
        self.initial = [group["lr"] for group in optimizer.param_groups]
        super().__init__(optimizer, last_epoch=-1)

    def step(self, epoch: int | None = None) -> None:
        """Set the rates of `epoch` (0-based); without an argument, those of the next one."""
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        for group, rate in zip(self.optimizer.param_groups, self.initial, strict=True):
            start = self.starts.get(group.get("name", ""), 0)
            duration = max(self.num_epochs - start, 1)
            progress = min(max(self.last_epoch - start, 0) / duration, 1.0)
            group["lr"] = rate * (1 - progress) ** self.power
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]
