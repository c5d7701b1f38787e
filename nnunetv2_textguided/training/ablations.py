"""Ablations, text controls and short variants: each fixes a few settings and nothing else."""

from __future__ import annotations

from typing import ClassVar

from nnunetv2_textguided.settings.presets import merge
from nnunetv2_textguided.training.trainer import nnUNetTrainerAlignRefine


class nnUNetTrainerAlignRefine_NoText(nnUNetTrainerAlignRefine):
    """The multi-encoder network without any text: what the guidance has to beat."""

    fixed: ClassVar = {"components": []}


class nnUNetTrainerAlignRefine_NoAlignment(nnUNetTrainerAlignRefine):
    """Without the alignment loss."""

    fixed: ClassVar = {"components": ["heatmap", "refiner"]}


class nnUNetTrainerAlignRefine_NoHeatmap(nnUNetTrainerAlignRefine):
    """Without the heatmap loss."""

    fixed: ClassVar = {"components": ["alignment", "refiner"]}


class nnUNetTrainerAlignRefine_NoRefiner(nnUNetTrainerAlignRefine):
    """Without the refiner."""

    fixed: ClassVar = {"components": ["alignment", "heatmap"]}


class nnUNetTrainerAlignRefine_SingleEncoder(nnUNetTrainerAlignRefine):
    """One encoder for all channels, as in stock nnU-Net, with the whole text guidance."""

    fixed: ClassVar = {"encoders": {"arrangement": "single"}}


class nnUNetTrainerAlignRefine_StockNetwork(nnUNetTrainerAlignRefine):
    """Stock nnU-Net's network and loss, trained as long as the plans' block says: the baseline at equal iterations.

    With nnU-Net's own length and rates a step equals nnUNetTrainer's bit by bit.
    """

    fixed: ClassVar = {"components": [], "encoders": {"arrangement": "single"}}


class nnUNetTrainerAlignRefine_RandomText(nnUNetTrainerAlignRefine):
    """Control: random vectors instead of text embeddings."""

    fixed: ClassVar = {"text": {"control": "random"}}


class nnUNetTrainerAlignRefine_ShuffledText(nnUNetTrainerAlignRefine):
    """Control: every prompt gets another prompt's embedding."""

    fixed: ClassVar = {"text": {"control": "shuffled"}}


class nnUNetTrainerAlignRefine_LearnedText(nnUNetTrainerAlignRefine):
    """Control: embeddings are free parameters, learned from the images alone."""

    fixed: ClassVar = {"text": {"control": "learned"}}


class nnUNetTrainerAlignRefine_1epoch(nnUNetTrainerAlignRefine):
    """One epoch, to see whether everything runs."""

    fixed: ClassVar = {"training": {"epochs": 1}}


class nnUNetTrainerAlignRefine_5epochs(nnUNetTrainerAlignRefine):
    """Five epochs."""

    fixed: ClassVar = {"training": {"epochs": 5}}


class nnUNetTrainerAlignRefine_10epochs(nnUNetTrainerAlignRefine):
    """Ten epochs."""

    fixed: ClassVar = {"training": {"epochs": 10}}


class nnUNetTrainerAlignRefine_50epochs(nnUNetTrainerAlignRefine):
    """Fifty epochs."""

    fixed: ClassVar = {"training": {"epochs": 50}}


class nnUNetTrainerAlignRefine_100epochs(nnUNetTrainerAlignRefine):
    """One hundred epochs."""

    fixed: ClassVar = {"training": {"epochs": 100}}


class nnUNetTrainerAlignRefine_250epochs(nnUNetTrainerAlignRefine):
    """Two hundred and fifty epochs."""

    fixed: ClassVar = {"training": {"epochs": 250}}


class nnUNetTrainerAlignRefine_NoText_250epochs(nnUNetTrainerAlignRefine_NoText):
    """The multi-encoder network without text, two hundred and fifty epochs: the short run's baseline."""

    fixed: ClassVar = merge(nnUNetTrainerAlignRefine_NoText.fixed, {"training": {"epochs": 250}})
