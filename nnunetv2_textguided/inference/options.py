"""What a prediction is asked for: plain values, so that they travel to other processes and machines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MISSING = ("error", "allow")
OUTSIDE_GLAND = ("mark", "drop")


@dataclass(frozen=True)
class ModelOptions:
    """The model and how it is applied.

    Attributes:
        folder: trained model folder.
        folds: whose predictions are averaged; None: all that are there.
        checkpoint: name of the checkpoint file in each fold's folder.
        device: "cpu", "cuda" or "mps".
        step_size: step of the sliding window, in windows.
        mirroring: test-time mirroring.
        on_device: keep the accumulator on the GPU.
        prompts: prompt bank (name or path) to use instead of the model's own.
        embeddings: embedding file to use instead of the model's own.
        encoder: text encoder for `prompts`, and for sentences of `case_text` that were not embedded before.
        case_text: file of what is known of the cases.
        sentences: embedding file that holds sentences of it.
        trust: let nnU-Net read checkpoints that could execute something.
        refiner: False switches the refiner off: masks are those of the network before it.
    """

    folder: Path
    folds: tuple[int | str, ...] | None = None
    checkpoint: str = "checkpoint_final.pth"
    device: str = "cpu"
    step_size: float = 0.5
    mirroring: bool = True
    on_device: bool = True
    prompts: str | None = None
    embeddings: Path | None = None
    encoder: str | None = None
    trust: bool = False
    refiner: bool = True
    case_text: Path | None = None
    sentences: Path | None = None


@dataclass(frozen=True)
class OutputOptions:
    """What is written.

    Attributes:
        folder: prediction folder.
        heatmaps: write heatmaps and change maps.
        overlays: write key slices of each candidate as PNG.
        viewer: write the HTML viewer.
        probabilities: write nnU-Net's .npz and .pkl.
        candidates: how lesion candidates are found: dynamic, dynamic-fast, mask, none, or a probability.
        lesion_label: the label whose candidates are listed; None: csPCa, or the only label.
        zones: folder of zone masks, one per case.
        outside_gland: what becomes of candidates outside the gland, one of OUTSIDE_GLAND; where no gland is known,
            nothing is said about them.
        threshold: where probabilities are cut: "fitted" (thresholds.json of the model), or a number; None: as nnU-Net.
        lesion_maps: write the lesion's probability, and the candidates' numbers, as images.
    """

    folder: Path
    heatmaps: bool = False
    overlays: bool = False
    viewer: bool = False
    probabilities: bool = False
    candidates: str = "dynamic"
    lesion_label: str | None = None
    zones: Path | None = None
    outside_gland: str = "mark"
    threshold: str | None = None
    lesion_maps: bool = False


@dataclass(frozen=True)
class WorkOptions:
    """How the work is divided.

    Attributes:
        preprocessing: background processes that preprocess; 0: none, in the foreground.
        export: background processes that export; 0: none, in the foreground.
        part: which part of the cases this process predicts.
        parts: number of parts.
        continued: leave alone what is already complete.
    """

    preprocessing: int = 3
    export: int = 3
    part: int = 0
    parts: int = 1
    continued: bool = False
