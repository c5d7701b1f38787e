"""nnU-Net's predictor that also returns what the text did, at the price of a few channels in its accumulator."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch import Tensor

from nnunetv2_textguided.errors import DataError, NetworkError
from nnunetv2_textguided.imaging.intensities import LOGGED
from nnunetv2_textguided.inference.explaining import ExplainingNetwork, Layout, Told
from nnunetv2_textguided.inference.missing import missing_rule
from nnunetv2_textguided.inference.progress import WindowProgress
from nnunetv2_textguided.network import AlignRefineUNet
from nnunetv2_textguided.network.channel_dropout import ChannelDropout
from nnunetv2_textguided.network.gate import STRENGTH, switched_off
from nnunetv2_textguided.nnunet.checkpoints import read_checkpoint
from nnunetv2_textguided.nnunet.labels import read_labels
from nnunetv2_textguided.settings import BLOCK, ResolvedText, Settings
from nnunetv2_textguided.settings.presets import resolve

_TRUST = "If you trust whoever made it, predict with --trust."


@dataclass(frozen=True)
class _Allocation:
    """What the sliding window asks nnU-Net's label manager: how many channels to make room for."""

    num_segmentation_heads: int


class TextGuidedPredictor(nnUNetPredictor):
    """nnUNetPredictor for any model, with the text's channels if asked for. Masks are nnU-Net's bit by bit."""

    layout: Layout
    network: Any
    label_manager: Any
    list_of_parameters: Any
    intensities: dict[int | str, Any]
    """What each fold's checkpoint says of its training images; None where it says nothing."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.progress = WindowProgress()
        self.folds: tuple[int | str, ...] = ()
        self.intensities = {}

    @property
    def settings(self) -> Settings | None:
        """The model's settings; None for a model of another trainer."""
        block = self.configuration_manager.configuration.get(BLOCK)
        return None if block is None else resolve(block)

    @property
    def text(self) -> ResolvedText:
        """What the model was told.

        Raises:
            DataError: it has no text.
        """
        settings = self.settings
        if settings is None or settings.text.resolved is None or not settings.uses_text:
            raise DataError(
                "This model was trained without text: it has no heatmap and no prompts.",
                where=self.trainer_name,
                remedy="Predict without --heatmaps, --prompts and --embeddings, or choose a text-guided model.",
            )
        return settings.text.resolved

    @property
    def calibrated(self) -> bool:
        """Whether the heatmap's values were fitted as probabilities: whether each fold saw evidence for it."""
        masses = [weights.get("alignment.calibration.mass") for weights in self.list_of_parameters]
        return all(mass is not None and bool(mass.any()) for mass in masses)

    def switch_off_refiner(self) -> None:
        """Predict with the network as it is before its refiner. Call after `load`.

        Raises:
            DataError: it has none.
        """
        if STRENGTH not in self.list_of_parameters[0]:
            raise DataError(
                "This model has no refiner to switch off.",
                where=f"--without-refiner, {self.trainer_name}",
                remedy="Predict without --without-refiner.",
            )
        # Each fold's weights are loaded anew before it predicts.
        self.list_of_parameters = list(map(switched_off, self.list_of_parameters))
        self.network.load_state_dict(self.list_of_parameters[0])

    def _internal_get_sliding_window_slicers(self, image_size: Any) -> Any:
        windows = super()._internal_get_sliding_window_slicers(image_size)
        self.progress.expect(len(windows))
        return windows

    def _internal_maybe_mirror_and_predict(self, x: Tensor) -> Tensor:
        predicted: Tensor = super()._internal_maybe_mirror_and_predict(x)
        self.progress.step()
        return predicted

    def predict_case(
        self,
        name: str,
        data: Tensor,
        missing: Collection[int] = (),
        told: Told | None = None,
        layout: Layout | None = None,
    ) -> Any:
        """(channels, *grid) of one preprocessed case, as NumPy array, with progress over its windows.

        NumPy as in nnU-Net: tensors cross process borders through shared memory, which can run out.

        Args:
            name: of the case.
            data: (channels, *grid) image.
            missing: indices of the channels that the case lacks.
            told: what the network is told of the case; None: nothing.
            layout: the channels that are then predicted.

        Raises:
            DataError: channels are missing, and the model was not trained to do without.
        """
        rule = missing_rule("allow", self.settings)
        if missing and not rule.allowed:
            raise DataError(f"{len(missing)} channels are missing.", where=f"case {name}", remedy=rule.reason)
        for module in self.network.modules():
            if isinstance(module, ChannelDropout):
                module.missing = frozenset(missing)
        with self._telling(told, layout), self.progress.of(name, len(self.list_of_parameters)):
            return self.predict_logits_from_preprocessed_data(data).cpu().numpy()

    @contextmanager
    def _telling(self, told: Told | None, layout: Layout | None) -> Iterator[None]:
        """While the block runs, the network is told this."""
        before = self.network, self.label_manager
        if told is not None and layout is not None:
            self.network = ExplainingNetwork(self._bare, self.layout.explained, told.inputs())
            self.label_manager = _Allocation(layout.channels)
        try:
            yield
        finally:
            self.network, self.label_manager = before

    @property
    def _bare(self) -> AlignRefineUNet:
        """The network without its wrappers."""
        # torch.compile (nnUNet_compile) compiles forward, not explain.
        network = getattr(self.network, "_orig_mod", self.network)
        network = network.network if isinstance(network, ExplainingNetwork) else network
        if not isinstance(network, AlignRefineUNet):
            raise NetworkError("The network is no AlignRefineUNet.", where=type(network).__name__)
        return network

    def load(self, folder: Path, folds: tuple[int | str, ...] | None, checkpoint: str, trust: bool = False) -> None:
        """Load a trained model folder.

        Args:
            folder: the model's.
            folds: those whose predictions are averaged, each once; None: all that are there.
            checkpoint: name of the file in each fold's folder.
            trust: let nnU-Net, whose loading executes what is in a file, read files that hold more than data.

        Raises:
            DataError: the folder or a fold of it is missing, a checkpoint is damaged or could execute something, or the
                model needs a former stage's predictions.
        """
        check_model_folder(folder, folds, checkpoint)
        self.folds = tuple(dict.fromkeys(folds or self.auto_detect_available_folds(str(folder), checkpoint)))
        for fold in self.folds if not trust else ():
            content = read_checkpoint(folder / f"fold_{fold}" / checkpoint, remedy=_TRUST)
            log = content.get("logging")
            self.intensities[fold] = log.get(LOGGED) if isinstance(log, dict) else None
        self.initialize_from_trained_model_folder(str(folder), self.folds, checkpoint)
        if self.configuration_manager.previous_stage_name is not None:
            raise DataError("The model is the second stage of a cascade.", where=folder, remedy="Use nnUNetv2_predict.")
        labels = read_labels(self.dataset_json, folder / "dataset.json").foreground
        self.layout = Layout(self.label_manager.num_segmentation_heads, labels, explained=False)

    def explain(self) -> None:
        """Predict the text's channels, too. Call after `load` and after prompts are exchanged."""
        labels = tuple(self.text.segmented)
        network = self._bare
        refined = network.refiner is not None and bool(network.refiner.alpha != 0)
        self.layout = Layout(self.layout.heads, labels, explained=True, refined=refined)
        self.network = ExplainingNetwork(network)
        # The sliding window reads nothing else from it; masks are made in export.py with the plans' own label manager.
        self.label_manager = _Allocation(self.layout.channels)


def folds_with(folder: Path, checkpoint: str) -> list[str]:
    """The folds of a model folder that have a checkpoint, as their folders name them ("0", "all")."""
    return sorted(path.parent.name.removeprefix("fold_") for path in folder.glob(f"fold_*/{checkpoint}"))


def check_model_folder(folder: Path, folds: tuple[int | str, ...] | None, checkpoint: str) -> None:
    """Raise DataError unless `folder` holds a trained model with these folds."""
    needed = [folder / name for name in ("plans.json", "dataset.json")]
    needed += [folder / f"fold_{fold}" / checkpoint for fold in folds or ()]
    missing = [path for path in needed if not path.is_file()]
    if missing:
        there = folds_with(folder, checkpoint)
        raise DataError(
            "The trained model is not complete.",
            where=", ".join(map(str, missing)),
            remedy=f"Folds with {checkpoint} there: {' '.join(there) or 'none'}. Choose with -f and -chk; "
            "check -d, -c, -tr and -p (or -m), and nnUNet_results.",
        )
