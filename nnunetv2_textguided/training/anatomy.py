"""Anatomy in training: read by nnU-Net's loader, augmented with the labels, and seen by the text losses alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, distributed

from nnunetv2_textguided.anatomy.labels import RAW_FOLDER, anatomy_folder
from nnunetv2_textguided.anatomy.preprocessing import preprocess_anatomy
from nnunetv2_textguided.errors import TrainingError
from nnunetv2_textguided.nnunet.folders import RAW, nnunet_path
from nnunetv2_textguided.nnunet.preprocessed import loader_processes
from nnunetv2_textguided.training.checkpointing import CheckpointingTrainer


class AnatomyTrainer(CheckpointingTrainer):
    """Loads the anatomy of its data set as a second channel of the target, where the text asks for it."""

    folder_with_segs_from_previous_stage: Any  # nnU-Net's: a path, or None
    uses_anatomy = False
    """Whether targets have that channel."""

    def load_anatomy(self) -> None:
        """Have nnU-Net's loader read the anatomy. Call before the loaders are made."""
        self.uses_anatomy = True
        # What a cascade's loader reads from there is appended to the label and augmented with it; only a cascaded
        # configuration would then move it into the image.
        self.folder_with_segs_from_previous_stage = str(anatomy_folder(self.preprocessed_dataset_folder))

    def on_train_start(self) -> None:
        """Preprocess the anatomy that is not up to date, then nnU-Net's start.

        Raises:
            DataError: a label map is missing or does not fit its case.
        """
        if self.uses_anatomy:
            if self.local_rank == 0:
                self._preprocess_anatomy()
            if self.is_ddp:
                distributed.barrier()
        super().on_train_start()

    def _preprocess_anatomy(self) -> None:
        plans = self.plans_manager
        raw_folder = nnunet_path(RAW)
        if raw_folder is None or not (raw := raw_folder / plans.dataset_name / RAW_FOLDER).is_dir():
            return  # A machine that only trains; what is there must do.
        preprocessed, processes = Path(self.preprocessed_dataset_folder_base), max(1, loader_processes())
        cases, done, folder = preprocess_anatomy(
            raw.parent, preprocessed, plans.plans_name, self.configuration_name, processes
        )
        self.print_to_log_file(f"Anatomy of {cases} cases, {done} of them preprocessed now -> {folder}")

    def get_tr_and_val_datasets(self) -> Any:
        """nnU-Net's data sets.

        Raises:
            TrainingError: cases lack their anatomy.
        """
        if self.uses_anatomy:
            folder = Path(self.folder_with_segs_from_previous_stage)
            there = {path.stem for path in folder.glob("*") if not path.name.startswith(".")}
            missing = [case for cases in self.do_split() for case in cases if case not in there]
            if missing:
                plans, configuration = self.plans_manager, self.configuration_name
                raise TrainingError(
                    f"{len(missing)} cases have no preprocessed anatomy, among them {', '.join(sorted(missing)[:5])}.",
                    where=folder,
                    remedy=f"Run `nnUNetv2_textguided anatomy -d {plans.dataset_name} -c {configuration} "
                    f"-p {plans.plans_name}`, or set alignment.anatomy to false.",
                )
        return super().get_tr_and_val_datasets()

    def segmented(self, target: list[Tensor] | Tensor) -> Any:
        """The part of a target, (B, 1 or 2, *S) or a list of them, that the segmentation loss sees."""
        if not self.uses_anatomy:
            return target
        return [part[:, :1] for part in target] if isinstance(target, list) else target[:, :1]

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """nnU-Net's final validation, which reads whole cases and needs no anatomy."""
        folder, self.folder_with_segs_from_previous_stage = self.folder_with_segs_from_previous_stage, None
        try:
            super().perform_actual_validation(save_probabilities)
        finally:
            self.folder_with_segs_from_previous_stage = folder

    def validation_step(self, batch: dict) -> dict:
        """nnU-Net's step, which knows nothing of anatomy."""
        return super().validation_step({**batch, "target": self.segmented(batch["target"])})
