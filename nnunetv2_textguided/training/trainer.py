"""The trainer that nnU-Net's commands find as `-tr nnUNetTrainerAlignRefine`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.utilities.collate_outputs import collate_outputs
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn

from nnunetv2_textguided.anatomy.labels import anatomy_labels
from nnunetv2_textguided.losses.guidance import GuidanceLoss
from nnunetv2_textguided.network.from_plans import build_from_architecture
from nnunetv2_textguided.schedule import History, PhaseWeights, phase_weights
from nnunetv2_textguided.settings import BLOCK, Settings
from nnunetv2_textguided.training.consistency import check_model_folder
from nnunetv2_textguided.training.logbook import Logbook
from nnunetv2_textguided.training.optimiser import GROUPS, GroupPolyLR, build_optimiser
from nnunetv2_textguided.training.plans import describe_training
from nnunetv2_textguided.training.refinement import refiner_loss, warning
from nnunetv2_textguided.training.segmentation import segmentation_loss
from nnunetv2_textguided.training.statistics import mean_over_ranks, on_any_rank
from nnunetv2_textguided.training.step import STEP_TERMS, backward, loss_terms
from nnunetv2_textguided.training.text import TrainingText
from nnunetv2_textguided.training.validation import ValidationTrainer
from nnunetv2_textguided.training.watch import NonFiniteWatch


class nnUNetTrainerAlignRefine(ValidationTrainer):
    """Text-guided training in phases (paper section II-E; DESIGN: Losses and phases).

    Everything that nnU-Net's commands do with a trainer works unmodified. Hyper-parameters are read from the
    `text_guidance` block of the configuration in the plans; the complete block is written into the model folder's
    plans.json and into every checkpoint.

    Raises:
        TrainingError: nnU-Net's part of the plans is not valid.
        SettingsError: the block is not valid.
        EmbeddingFileError: the text cannot be had, or is not the one that the plans describe.
        NotImplementedError: the configuration is the second stage of a cascade.
    """

    fixed: ClassVar[Mapping[str, Any]] = {}
    """What a subclass fixes of the settings: stronger than the plans' block."""

    settings: Settings
    text: TrainingText | None

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008  (nnU-Net's signature)
    ) -> None:
        self.continued = bool(plans.get("continue_training", False))
        name = plans.get("dataset_name")
        folder = Path(nnUNet_preprocessed) / name if nnUNet_preprocessed.is_set() and isinstance(name, str) else None
        plans, self.settings, self.text = describe_training(plans, configuration, dataset_json, self.fixed, folder)
        super().__init__(plans, configuration, fold, dataset_json, device)
        self._apply_training_settings()
        if self.text is not None and self.text.resolved.anatomy:
            self.load_anatomy()
        self.logbook = Logbook(self.logger)
        self.watch = NonFiniteWatch(self.settings.training.nonfinite_patience)
        self.weights = PhaseWeights("segmentation", 0.0, 0.0, 0.0)
        self.epoch_record: dict[str, Any] = {}

    def _apply_training_settings(self) -> None:
        training, optimiser = self.settings.training, self.settings.optimiser
        self.initial_lr, self.weight_decay = optimiser.lr, optimiser.weight_decay
        chosen = {
            "num_epochs": training.epochs,
            "num_iterations_per_epoch": training.iterations_per_epoch,
            "num_val_iterations_per_epoch": training.val_iterations_per_epoch,
            "save_every": training.save_every,
            "oversample_foreground_percent": training.oversample_foreground,
            "probabilistic_oversampling": training.probabilistic_oversampling,
        }
        for name, value in chosen.items():
            if value is not None:
                setattr(self, name, value)

    # ------------------------------------------------------------------ building

    @staticmethod
    def build_network_architecture(
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """Build the network that the plans and their `text_guidance` block describe; also called at prediction."""
        configuration = configuration_manager.configuration
        return build_from_architecture(
            configuration["architecture"],
            configuration.get(BLOCK) or {},
            num_input_channels,
            num_output_channels,
            enable_deep_supervision,
        )

    def initialize(self) -> None:
        """nnU-Net's initialisation, then the text and its losses."""
        super().initialize()
        if self.text is not None:
            labels = None if self.label_manager.has_regions else self.label_manager.foreground_labels
            heatmap = self.settings.heatmap
            anatomy = tuple(anatomy_labels(self.dataset_json).values()) if self.uses_anatomy else ()
            self.guidance_loss = GuidanceLoss(
                labels, self.label_manager.ignore_label, heatmap.dice_weight, heatmap.hard_negatives, anatomy
            ).to(self.device)
            self._tell_network()
        self.refiner_loss = refiner_loss(self.settings, self.label_manager.has_regions, self.label_manager.ignore_label)
        if self.refiner_loss is not None:
            self.refiner_loss.to(self.device)

    def _tell_network(self) -> None:
        # A learned control starts from its own random initialisation, not from language.
        if self.text is not None and self.settings.text.control != "learned":
            self.bare_network.set_text(self.text.pooled, self.text.tokens)

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, GroupPolyLR]:
        """SGD with one parameter group per part, and a scheduler that keeps their rates apart."""
        # Called before DDP wraps the network.
        optimiser = build_optimiser(self._unwrapped(self.network), self.settings)
        return optimiser, GroupPolyLR(optimiser, self.num_epochs, self.settings)

    def _build_loss(self) -> nn.Module:
        """nnU-Net's own loss, or the settings' compound inside nnU-Net's deep supervision."""
        return segmentation_loss(
            super()._build_loss(),
            self.settings.segmentation_loss,
            self.label_manager,
            batch_dice=self.configuration_manager.batch_dice,
            deep_supervision=self.enable_deep_supervision,
        )

    # ------------------------------------------------------------------ training

    def on_train_start(self) -> None:
        """Refuse to mix models in one folder, then nnU-Net's own start."""
        if self.output_folder_base is not None:
            check_model_folder(self.output_folder_base, self.plans_manager.plans, self.configuration_name)
        super().on_train_start()
        resolved = self.settings.text.resolved
        if resolved is not None:
            self.print_to_log_file(
                f"Text: {len(resolved.prompts)} prompts for {', '.join(resolved.labels)} and context, encoded by "
                f"{resolved.encoder.get('id', '?')}, control '{self.settings.text.control}', from {resolved.source}"
            )
        if self.current_epoch == 0:
            # -pretrained_weights overwrites buffers too: the text is this training's, not the donor's.
            self._tell_network()

    def on_train_epoch_start(self) -> None:
        """Set this epoch's learning rates and phase weights."""
        super().on_train_epoch_start()
        history = History(self.logger.get_value("train_losses", None), self.logger.get_value("ema_fg_dice", None))
        self.weights = phase_weights(self.current_epoch, self.num_epochs, self.settings, history)
        if self.guidance_loss is not None:
            self.guidance_loss.lambda_align.fill_(self.weights.align)
            self.guidance_loss.lambda_heat.fill_(self.weights.heat)
        refiner = self.bare_network.refiner
        if refiner is not None:
            refiner.alpha.fill_(self.weights.alpha)
        if self.refiner_loss is not None:
            self.refiner_loss.weight.fill_(self.weights.refine)
        self.print_to_log_file(
            f"Phase: {self.weights.phase} (lambda_align {self.weights.align:.4g}, "
            f"lambda_heat {self.weights.heat:.4g}, alpha {self.weights.alpha:.4g})"
        )

    def train_step(self, batch: dict) -> dict:
        """One optimisation step; one transfer to the host, as in nnU-Net."""
        data = batch["data"].to(self.device, non_blocking=True)
        target = batch["target"]
        several = isinstance(target, list)
        target = [t.to(self.device, non_blocking=True) for t in (target if several else [target])]
        self.optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            if self.refiner_loss is None:
                output, similarity = self.network(data, return_similarity=True)
            else:
                output, similarity, refinement = self.network(data, return_similarity=True, return_refinement=True)
            segmentation = self.loss(output, self.segmented(target if several else target[0]))
        refined = None
        if self.refiner_loss is not None:
            base = output[0] if several else output
            refined = self.refiner_loss(base, refinement, self.segmented(target[0]))
        terms = loss_terms(self.guidance_loss, segmentation, similarity, target[0], refined)
        norm = backward(terms[0], self.optimizer, self.grad_scaler)
        values = torch.stack([*(term.detach().float() for term in terms), norm.detach().float()]).cpu().numpy()
        failed = not np.isfinite(values[0]) or not (np.isfinite(values[-1]) or self.grad_scaler is not None)
        self._step(failed)
        losses = dict(zip(STEP_TERMS[:4], values[:4].tolist(), strict=True))
        self.watch.update(
            on_any_rank(failed, self.is_ddp, self.device), losses, self.current_epoch, list(batch.get("keys", ()))
        )
        return {"loss": values[0], "terms": values[: len(STEP_TERMS)]}

    def _step(self, failed: bool) -> None:
        if self.grad_scaler is not None:
            # The scaler skips steps with non-finite gradients itself and lowers its scale.
            self.grad_scaler.step(self.optimizer)
            self.grad_scaler.update()
        elif not failed:
            # Gradients are the same on all ranks, and so is this decision.
            self.optimizer.step()

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        """nnU-Net's mean loss, and the means of the components over iterations (and ranks)."""
        super().on_train_epoch_end(train_outputs)
        terms = np.atleast_2d(collate_outputs(train_outputs)["terms"])
        self.epoch_record = dict(zip(STEP_TERMS, mean_over_ranks(terms, self.is_ddp), strict=True))

    # ------------------------------------------------------------------ logging

    def on_epoch_end(self) -> None:
        """Log this package's values, then nnU-Net's end of epoch (which writes checkpoints), then the CSV."""
        alignment = self.bare_network.alignment
        refinement = self.edits.finish(self.is_ddp)
        if (message := warning(refinement, self.weights.alpha)) is not None:
            self.print_to_log_file(message)
        rates = {f"lr_{name}": g["lr"] for name, g in zip(GROUPS, self.optimizer.param_groups, strict=True)}
        self.epoch_record |= {
            "phase": self.weights.phase,
            "lambda_align": self.weights.align,
            "lambda_heat": self.weights.heat,
            "alpha": self.weights.alpha,
            "scale": float("nan") if alignment is None else float(alignment.scale.detach()),
            **refinement,
            **rates,
        }
        self.logbook.log(self.epoch_record, self.current_epoch)
        self.print_to_log_file(
            "text guidance:", {k: round(v, 4) for k, v in self.epoch_record.items() if isinstance(v, float)}
        )
        super().on_epoch_end()
        self._write_csv()

    def _write_csv(self) -> None:
        if self.local_rank == 0 and self.output_folder is not None:
            self.logbook.write_csv(Path(self.output_folder) / "text_guidance_log.csv")

    def load_checkpoint(self, filename_or_checkpoint: dict | str) -> None:
        """Continue, with this package's log as long as nnU-Net's.

        Raises:
            TrainingError: the checkpoint is damaged, or belongs to another architecture or other prompts.
        """
        super().load_checkpoint(filename_or_checkpoint)
        self.logbook.align_with(self.current_epoch)
