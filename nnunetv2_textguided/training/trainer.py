"""The trainer that nnU-Net's commands find as `-tr nnUNetTrainerAlignRefine`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn

from nnunetv2_textguided.errors import print_without_traceback
from nnunetv2_textguided.network import AlignRefineUNet
from nnunetv2_textguided.network.from_plans import build_from_architecture, uncompiled
from nnunetv2_textguided.nnunet.folders import PREPROCESSED, folder_in
from nnunetv2_textguided.processes.threads import keep_thread_limit
from nnunetv2_textguided.schedule import PhaseWeights, phase_weights
from nnunetv2_textguided.settings import BLOCK
from nnunetv2_textguided.settings.presets import resolve
from nnunetv2_textguided.training import step
from nnunetv2_textguided.training.augmentation import with_directions
from nnunetv2_textguided.training.checkpoints import Checkpoints
from nnunetv2_textguided.training.continuation import best_so_far
from nnunetv2_textguided.training.logbook import Logbook, describe_epoch, epoch_record
from nnunetv2_textguided.training.optimiser import GroupPolyLR, build_optimiser
from nnunetv2_textguided.training.plans import describe_training, nnunet_attributes
from nnunetv2_textguided.training.refinement import Edits
from nnunetv2_textguided.training.seed import describe_seed, set_seed
from nnunetv2_textguided.training.segmentation import segmentation_loss
from nnunetv2_textguided.training.splits import check_fold, check_references, ensure_splits
from nnunetv2_textguided.training.statistics import means_of_steps, on_any_rank
from nnunetv2_textguided.training.text_guidance import load_guidance
from nnunetv2_textguided.training.validation import OnlineValidation, random_patches, replaced
from nnunetv2_textguided.training.watch import NonFiniteWatch


class nnUNetTrainerAlignRefine(nnUNetTrainer):
    """Text-guided training in phases (paper section II-E; docs/method.md).

    Everything that nnU-Net's commands do with a trainer works unmodified. Hyper-parameters are the `text_guidance`
    block of the configuration in the plans; complete, it is written into the model folder's plans.json and checkpoints.

    Raises:
        TrainingError: nnU-Net's part of the plans is not valid.
        SettingsError: the block is not valid.
        EmbeddingFileError: the text cannot be had, or is not the one that the plans describe.
        NotImplementedError: the configuration is the second stage of a cascade.
    """

    fixed: ClassVar[Mapping[str, Any]] = {}
    """What a subclass fixes of the settings: stronger than the plans' block."""

    network: Any  # nnU-Net's: a module, perhaps wrapped
    _best_ema: Any  # nnU-Net's: a float, or None before the first epoch
    folder_with_segs_from_previous_stage: Any  # nnU-Net's: a path, or None

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008  (nnU-Net's signature)
    ) -> None:
        print_without_traceback()
        continued = bool(plans.get("continue_training", False))  # nnU-Net takes it out of the plans
        folder = folder_in(PREPROCESSED, plans.get("dataset_name"))
        plans, self.settings, text = describe_training(plans, configuration, dataset_json, self.fixed, folder)
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.__dict__.update(nnunet_attributes(self.settings))
        there = self.plans_manager, configuration, dataset_json, self.preprocessed_dataset_folder
        self.text_guidance, self.anatomy = load_guidance(text, self.settings, *there)
        if self.anatomy is not None:
            # What a cascade's loader reads there is augmented with the label; only cascades move it into the image.
            self.folder_with_segs_from_previous_stage = str(self.anatomy.folder)
        self.checkpoints = Checkpoints(self.plans_manager.plans, configuration, continued)
        labels = self.label_manager
        self.online_validation = OnlineValidation(Edits(labels.has_regions, labels.ignore_label))
        self.watch = NonFiniteWatch(self.settings.training.nonfinite_patience)
        self.logbook = Logbook(self.logger)
        self.weights = PhaseWeights("segmentation", 0.0, 0.0, 0.0)
        self.step_means: dict[str, float] = {}

    @staticmethod
    def build_network_architecture(
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """Build the network that the plans and their `text_guidance` block describe; also called at prediction."""
        plans = configuration_manager.configuration
        settings, inputs, outputs = resolve(plans.get(BLOCK)), num_input_channels, num_output_channels
        return build_from_architecture(plans["architecture"], settings, inputs, outputs, enable_deep_supervision)

    def initialize(self) -> None:
        """Threads and the seed, nnU-Net's initialisation, then the text and its losses."""
        keep_thread_limit(self.device)
        if self.settings.training.seed is not None:
            set_seed(self.settings.training.seed, self.local_rank)
        super().initialize()
        self.text_guidance.build_loss(self.label_manager, self.anatomy, self.device)
        self.text_guidance.set_text(self.bare_network)

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, GroupPolyLR]:
        """SGD with one parameter group per part, and a scheduler that keeps their rates apart."""
        # Called before DDP wraps the network.
        optimiser = build_optimiser(uncompiled(self.network), self.settings)
        return optimiser, GroupPolyLR(optimiser, self.num_epochs, self.settings)

    def _build_loss(self) -> nn.Module:
        """nnU-Net's own loss, or the settings' compound inside nnU-Net's deep supervision."""
        own, batch_dice = super()._build_loss(), self.configuration_manager.batch_dice
        chosen, manager = self.settings.segmentation_loss, self.label_manager
        return segmentation_loss(own, chosen, manager, batch_dice, self.enable_deep_supervision)

    @property
    def bare_network(self) -> AlignRefineUNet:
        """The network without the wrappers of DDP and torch.compile."""
        return uncompiled(self.network.module if self.is_ddp else self.network)

    def do_split(self) -> tuple[list[str], list[str]]:
        """nnU-Net's split, from a file that is whole; a TrainingError where there is none to be had (splits.py)."""
        if self.fold != "all" and self.preprocessed_dataset_folder_base is not None:
            ensure_splits(self.preprocessed_dataset_folder, int(self.fold))
        return self.text_guidance.split(*check_fold(super().do_split(), self.fold), self.fold)

    def get_tr_and_val_datasets(self) -> Any:
        """nnU-Net's data sets, whose cases all have the anatomy that is used and, to validate, references."""
        if self.anatomy is not None:
            self.anatomy.check(case for cases in self.do_split() for case in cases)
        train, val = super().get_tr_and_val_datasets()
        check_references(self.preprocessed_dataset_folder_base, val.identifiers, self.dataset_json["file_ending"])
        return self.text_guidance.datasets(train, val)

    def get_dataloaders(self) -> Any:
        """nnU-Net's loaders, which draw cases without outlines as often as the settings say."""
        with self.text_guidance.drawing():
            return super().get_dataloaders()

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> Any:
        """nnU-Net's augmentation, which keeps the directions that phrases name (augmentation.py)."""
        rotation, dummy, patch_size, mirroring = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        if self.settings.grounding.enabled:
            rotation, mirroring = with_directions(rotation)
            self.inference_allowed_mirroring_axes = mirroring
        return rotation, dummy, patch_size, mirroring

    def on_train_start(self) -> None:
        """Check the model folder, preprocess anatomy, nnU-Net's start; write a checkpoint that a kill left out."""
        self.checkpoints.check_folder(self.output_folder_base)
        if self.anatomy is not None:
            self.anatomy.prepare(self.local_rank, self.is_ddp, self.print_to_log_file)
        super().on_train_start()
        if self.local_rank == 0 and self.output_folder is not None:
            best = self.checkpoints.missing_best(self.output_folder, self.current_epoch, self.logbook.moving_dice)
            if best is not None:  # counted on at the end of an epoch, and checkpoints are written before that
                with replaced(self, "current_epoch", self.current_epoch - 1):
                    self.save_checkpoint(best)
        if (message := self.text_guidance.describe()) is not None:
            self.print_to_log_file(message)
        if self.current_epoch == 0:
            self.print_to_log_file(describe_seed())
            # -pretrained_weights overwrites buffers too: the text is this training's, not the donor's.
            self.text_guidance.set_text(self.bare_network)
        if self.text_guidance.case is not None:
            self.text_guidance.case.prepare(self.bare_network, self.do_split()[0], self.preprocessed_dataset_folder)

    def on_train_epoch_start(self) -> None:
        """Set this epoch's learning rates and phase weights."""
        super().on_train_epoch_start()
        self.weights = phase_weights(self.current_epoch, self.num_epochs, self.settings, self.logbook.history)
        self.text_guidance.start_epoch(self.weights, self.bare_network, self.is_ddp)
        self.print_to_log_file(f"Phase: {self.weights}")

    def train_step(self, batch: dict) -> dict:
        """One optimisation step."""
        data, target = (step.to_device(batch[name], self.device) for name in ("data", "target"))
        self.optimizer.zero_grad(set_to_none=True)
        told = self.text_guidance.tell(batch.get("keys", ()), self.device)
        losses = self.text_guidance.losses(self.loss, batch.get("keys", ()))
        terms = step.compute_terms(self.network, data, target, losses, step.autocast(self.device), told)
        values, failed = step.optimise(terms, self.optimizer, self.grad_scaler)
        failed = on_any_rank(failed, self.is_ddp, self.device)
        self.watch.update(failed, step.losses_of(values), self.current_epoch, list(batch.get("keys", ())))
        return {"loss": values[0], "terms": values}

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        """nnU-Net's mean loss, and the means of all terms over iterations (and ranks)."""
        super().on_train_epoch_end(train_outputs)
        self.step_means = means_of_steps(train_outputs, self.is_ddp)

    def on_train_end(self) -> None:
        """What prediction needs to know of the training images, then nnU-Net's end, whose checkpoint holds it, too."""
        if self.local_rank == 0 and self.output_folder is not None:
            self.logbook.keep_intensities(self.get_tr_and_val_datasets()[0], self.output_folder)
        super().on_train_end()

    def on_validation_epoch_start(self) -> None:
        """Start to watch the refiner and to count similarity logits."""
        super().on_validation_epoch_start()
        self.online_validation.start(self.bare_network)

    def validation_step(self, batch: dict) -> dict:
        """nnU-Net's step on the label maps, with a network that is observed."""
        target, loss = batch["target"], self.text_guidance.loss
        patches = random_patches(self.batch_size, self.oversample_foreground_percent, self.probabilistic_oversampling)
        labels = target if self.anatomy is None else step.without_anatomy(target)
        observed = self.online_validation.observe(self.network, self.bare_network, target, labels, loss, patches)
        with replaced(self, "network", observed):
            return super().validation_step({**batch, "target": labels})

    def on_validation_epoch_end(self, val_outputs: list[dict]) -> None:
        """nnU-Net's pseudo Dice, whose moving average skips epochs without any; then calibrate the heatmap."""
        super().on_validation_epoch_end(val_outputs)
        self.logbook.correct_moving_dice()
        self.online_validation.finish(self.bare_network, self.is_ddp)

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """nnU-Net's final validation, which reads whole cases and needs no anatomy."""
        with replaced(self, "folder_with_segs_from_previous_stage", None):
            super().perform_actual_validation(save_probabilities)

    def on_epoch_end(self) -> None:
        """Log this package's values, then nnU-Net's end of epoch (which writes checkpoints), then the CSV."""
        refinement = self.online_validation.edits.finish(self.is_ddp)
        record = epoch_record(self.step_means, self.weights, refinement, self.bare_network, self.optimizer)
        self.logbook.log(record, self.current_epoch)
        self.print_to_log_file(describe_epoch(record))
        self._best_ema = best_so_far(self.logbook.moving_dice[:-1])  # not nnU-Net's, which may be a NaN
        super().on_epoch_end()
        if self.local_rank == 0 and self.output_folder is not None:
            self.logbook.write_csv(Path(self.output_folder) / "text_guidance_log.csv")

    def save_checkpoint(self, filename: str) -> None:
        """nnU-Net's checkpoint, but whole or not at all."""
        if self.local_rank != 0 or self.disable_checkpointing:
            super().save_checkpoint(filename)
        else:
            self.checkpoints.write(filename, super().save_checkpoint)

    def load_checkpoint(self, filename_or_checkpoint: dict | str) -> None:
        """nnU-Net's loading of what belongs to this training, and a log as long as nnU-Net's."""
        self.checkpoints.load(filename_or_checkpoint, super().load_checkpoint, self.print_to_log_file)
        self._best_ema = best_so_far(self.logbook.moving_dice)
        self.logbook.align_with(self.current_epoch)
