"""nnU-Net's own training with the order of the data pinned to the epoch, and places where it can be killed."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nnunetv2_textguided.training import nnUNetTrainerAlignRefine
from tests.datasets import Workspace

EPOCHS = 6
# Each phase has an epoch: warm-up 0, align 1 and 2 (the ramp takes one epoch), refine 3 to 5.
BLOCK = {
    "training": {"epochs": EPOCHS, "iterations_per_epoch": 2, "val_iterations_per_epoch": 1, "save_every": 1},
    "schedule": {"warmup": 0.17, "ramp": 0.17, "refine": 0.5},
    "refiner": {"band": 1e9, "max_fraction": 1.0},
}
CONFIGURATION = "3d_fullres"
_FEW_SAMPLES = {"num_foreground_voxels_for_intensitystats": 1e4}


class PinnedTrainer(nnUNetTrainerAlignRefine):
    """Draws what epoch and fold say. nnU-Net does not pin the order of its data, nor does this package.

    `die` is called with the name of the place that the training has come to.
    """

    die: Callable[[str], None] = staticmethod(lambda place: None)

    @staticmethod
    def get_training_transforms(*args: Any, **kwargs: Any) -> Any:
        """nnU-Net's augmentation, but for the blur, which chooses its arithmetic by the clock."""
        composed = nnUNetTrainerAlignRefine.get_training_transforms(*args, **kwargs)
        for transform in composed.transforms:
            inner = getattr(transform, "transform", None)
            if hasattr(inner, "benchmark"):
                inner.benchmark = False
        return composed

    def on_train_epoch_start(self) -> None:
        seed = 10_000 * self.local_rank + 1000 * int(self.fold) + self.current_epoch
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002  (the generator that batchgenerators draws from)
        torch.manual_seed(seed)
        super().on_train_epoch_start()

    def train_step(self, batch: dict) -> dict:
        self.die(f"step of epoch {self.current_epoch}, {self.weights.phase}")
        return super().train_step(batch)

    def validation_step(self, batch: dict) -> dict:
        self.die(f"validation step of epoch {self.current_epoch}")
        return super().validation_step(batch)

    def save_checkpoint(self, filename: str) -> None:
        name = Path(filename).stem
        self.die(f"before {name} of epoch {self.current_epoch}")
        super().save_checkpoint(filename)
        self.die(f"after {name} of epoch {self.current_epoch}")

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        self.die("before the validation")
        super().perform_actual_validation(save_probabilities)


def suicide() -> None:
    """kill -9 this process and its helpers."""
    os.killpg(os.getpid(), signal.SIGKILL)


def train(fold: int, continued: bool, place: str | None = None, configuration: str = CONFIGURATION) -> None:
    """nnUNetv2_train, killed at `place` if that is named."""
    import nnunetv2.run.run_training as command
    from nnunetv2.training.logging.nnunet_logger import LocalLogger

    command.recursive_find_trainer_class_by_name = lambda name: PinnedTrainer
    # A second per epoch for a picture that nothing reads.
    LocalLogger.plot_progress_png = lambda self, folder: None
    if place is not None:
        _arm(place)
    torch.manual_seed(fold)
    command.run_training(
        "901", configuration, fold, "PinnedTrainer", continue_training=continued, device=torch.device("cpu")
    )


def _die_exporting(*args: Any) -> None:
    """In place of nnU-Net's export: leave half of a prediction, as a kill does."""
    Path(f"{args[5]}.nii.gz").write_bytes(b"half")
    os.killpg(os.getppid(), signal.SIGKILL)


def _arm(place: str) -> None:
    """Make the training kill itself where `place` says."""
    PinnedTrainer.die = staticmethod(lambda here: suicide() if here == place else None)
    if place.startswith("half of "):
        save = torch.save
        name, epoch = place.removeprefix("half of ").split(" of epoch ")

        def half(content: Any, target: Any) -> None:
            save(content, target)
            if Path(target).name.startswith(f".{name}.") and content["current_epoch"] == int(epoch) + 1:
                os.truncate(target, os.path.getsize(target) // 2)
                suicide()

        torch.save = half
    elif place == "export":
        import nnunetv2.training.nnUNetTrainer.nnUNetTrainer as module

        module.export_prediction_from_logits = _die_exporting


def plan(root: Path, configurations: tuple[str, ...], splits: Any = None) -> None:
    """Fingerprint, plan and preprocess data set 901 with stock nnU-Net; make the network tiny."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api

    os.environ.update(nnUNet_n_proc_DA="1")  # the planner sets torch's threads to this number
    # Tiny images need neither a hundred million samples of intensities nor a smaller patch.
    extractor = api.DatasetFingerprintExtractor
    extract = extractor.__init__
    extractor.__init__ = lambda self, *a, **k: (extract(self, *a, **k), vars(self).update(_FEW_SAMPLES))[0]
    api.ExperimentPlanner.static_estimate_VRAM_usage = staticmethod(lambda *args, **kwargs: 1.0)
    api.extract_fingerprints([901], num_processes=1, show_progress_bar=False)
    api.plan_experiments([901])
    api.preprocess([901], configurations=configurations, num_processes=(1,), show_progress_bar=False)
    workspace = Workspace(root)
    os.environ.update(nnUNet_n_proc_DA="0")
    for configuration in configurations:
        workspace.edit_plans(configuration, BLOCK)
    if splits is not None:
        from nnunetv2_textguided.files import write_json

        write_json(workspace.plans_path().parent / "splits_final.json", splits)


def fold_folder(root: Path, fold: int = 0, configuration: str = CONFIGURATION) -> Path:
    """Where a training writes."""
    return next((root / "results").glob("*")) / f"PinnedTrainer__nnUNetPlans__{configuration}" / f"fold_{fold}"
