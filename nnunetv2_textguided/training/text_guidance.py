"""The text of a training, its losses, and the weights that a phase gives them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from nnunetv2_textguided.losses.guidance import GuidanceLoss
from nnunetv2_textguided.losses.refiner import RefinerLoss, own_loss
from nnunetv2_textguided.network import AlignRefineUNet
from nnunetv2_textguided.nnunet.loaders import drawn_with
from nnunetv2_textguided.nnunet.plans import LabelManager, PlansManager
from nnunetv2_textguided.schedule import PhaseWeights
from nnunetv2_textguided.settings import Settings
from nnunetv2_textguided.training.anatomy import TrainingAnatomy
from nnunetv2_textguided.training.case_text import TrainingCaseText, load_case_text
from nnunetv2_textguided.training.step import StepLosses, Told
from nnunetv2_textguided.training.supervision import ReportSupervision, load_supervision, uses_places
from nnunetv2_textguided.training.text import TrainingText


def load_guidance(
    text: TrainingText | None,
    settings: Settings,
    plans: PlansManager,
    configuration: str,
    dataset_json: dict[str, Any],
    preprocessed: str,
) -> tuple[TextGuidance, TrainingAnatomy | None]:
    """What a training does with text, and the anatomy that it needs for that.

    Args:
        text: the embeddings; None: a training without text.
        settings: complete settings.
        plans: the data set's plans.
        configuration: name of the configuration.
        dataset_json: the data set's description.
        preprocessed: the folder of the preprocessed data set.

    Raises:
        SettingsError: the settings ask for reports that cannot be had.
        DataError: the case text, the reports or the description of the anatomy are not valid.
    """
    resolved = None if text is None else text.resolved
    case = load_case_text(settings, resolved, plans.dataset_name)
    sectors = settings.grounding.enabled or uses_places(settings, dataset_json)
    anatomy = None
    if sectors or (resolved is not None and resolved.anatomy):
        anatomy = TrainingAnatomy.of(preprocessed, plans, configuration, dataset_json, sectors)
    reports = load_supervision(settings, plans, configuration, dataset_json, preprocessed, anatomy)
    return TextGuidance(text, settings, case, reports), anatomy


class TextGuidance:
    """What a trainer does with text; without text, nothing.

    Args:
        text: the embeddings; None: a training without text.
        settings: complete settings.
        case: what the network is told of each case; None: nothing.
        reports: what is learned from reports of cases without outlines; None: nothing.

    Attributes:
        loss: the text losses, once they are built.
        refiner_loss: the refiner's own, where it has one.
    """

    def __init__(
        self,
        text: TrainingText | None,
        settings: Settings,
        case: TrainingCaseText | None = None,
        reports: ReportSupervision | None = None,
    ) -> None:
        self.text, self.settings, self.case, self.reports = text, settings, case, reports
        self.loss: GuidanceLoss | None = None
        self.refiner_loss: RefinerLoss | None = None

    def build_loss(self, manager: LabelManager, anatomy: TrainingAnatomy | None, device: torch.device) -> None:
        """Build the losses of text and refiner for a data set's labels and its anatomy."""
        aligned = self.text is not None and self.text.resolved.anatomy > 0
        values = anatomy.values if anatomy is not None and aligned else ()
        codes = None if anatomy is None else anatomy.codes
        heatmap, labels = self.settings.heatmap, None if manager.has_regions else manager.foreground_labels
        if self.text is not None:
            loss = GuidanceLoss(
                labels, manager.ignore_label, heatmap.dice_weight, heatmap.hard_negatives, values, codes
            )
            self.loss = loss.to(device)
        refiner = own_loss(self.settings, labels is None, manager.ignore_label)
        self.refiner_loss = None if refiner is None else refiner.to(device)

    def losses(self, segmentation: Any, cases: Sequence[str]) -> StepLosses:
        """All losses of a step on a batch's cases."""
        grounding = self.settings.grounding if self.settings.grounding.enabled else None
        reports = None if self.reports is None else self.reports.of(cases)
        return StepLosses(segmentation, self.loss, self.refiner_loss, grounding, reports)

    def split(self, train: list[str], validation: list[str], fold: int | str) -> tuple[list[str], list[str]]:
        """A fold's cases; errors as `ReportSupervision.split` has them."""
        return (train, validation) if self.reports is None else self.reports.split(train, validation, fold == "all")

    def datasets(self, train: Any, validation: Any) -> tuple[Any, Any]:
        """nnU-Net's data sets of a fold; errors as `ReportSupervision.placed` has them."""
        return train if self.reports is None else self.reports.placed(train), validation

    def drawing(self) -> AbstractContextManager[None]:
        """A context in which nnU-Net's loaders draw cases as often as the settings say."""
        return nullcontext() if self.reports is None else drawn_with(self.reports.probabilities)

    def tell(self, cases: Sequence[str], device: torch.device) -> Told | None:
        """What the network is told of a batch's cases."""
        return None if self.case is None else self.case.draw(cases, device)

    def set_text(self, network: AlignRefineUNet) -> None:
        """Give a network the embeddings. A learned control starts from its own random initialisation instead."""
        if self.text is not None and self.settings.text.control != "learned":
            network.set_text(self.text.pooled, self.text.tokens)

    def start_epoch(self, weights: PhaseWeights, network: AlignRefineUNet, distributed: bool) -> None:
        """Give losses and refiner the weights of an epoch, and spare what it has no use for."""
        self.set_weights(weights, network)
        if not distributed:  # DDP waits for the gradients of all parameters that it was given
            self._spare(weights, network)

    def set_weights(self, weights: PhaseWeights, network: AlignRefineUNet) -> None:
        """Give losses and refiner the weights of an epoch."""
        if self.reports is not None:
            self.reports.weight = weights.report
        if self.loss is not None:
            self.loss.lambda_align.fill_(weights.align)
            self.loss.lambda_heat.fill_(weights.heat)
        if network.refiner is not None:
            network.refiner.alpha.fill_(weights.alpha)
        if self.refiner_loss is not None:
            self.refiner_loss.weight.fill_(weights.refine)

    def _spare(self, weights: PhaseWeights, network: AlignRefineUNet) -> None:
        """Spare what an epoch has no use for, without which the training is the same.

        A refiner that has yet to learn has no weight, and a network that is finished a learning rate of 0.
        """
        network.refiner_waits = self.settings.fits_refiner and not weights.fitting
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(not weights.fitting or name.startswith("refiner."))

    def describe(self) -> str | None:
        """Lines for the training log; None where there is nothing to say."""
        reports = [] if self.reports is None else [self.reports.describe()]
        lines = [*self._describe_text(), *reports]
        return "\n".join(lines) or None

    def _describe_text(self) -> list[str]:
        if self.text is None:
            return []
        resolved = self.text.resolved
        case = "" if self.case is None else f"\n{self.case.describe()}"
        return [
            f"Text: {len(resolved.prompts)} prompts for {', '.join(resolved.labels)} and context, encoded by "
            f"{resolved.encoder.get('id', '?')}, control '{self.settings.text.control}', from {resolved.source}{case}"
        ]
