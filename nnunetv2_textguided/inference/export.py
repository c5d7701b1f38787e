"""From a case's predicted channels to its files; runs in a background process."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from nnunetv2_textguided.evaluation.case_likelihood import LikelihoodModel
from nnunetv2_textguided.files import write_json
from nnunetv2_textguided.inference import cases as places
from nnunetv2_textguided.inference.cases import Case, results_of
from nnunetv2_textguided.inference.edits import count_edits
from nnunetv2_textguided.inference.explaining import Layout, unscaled
from nnunetv2_textguided.inference.findings import CaseMaps, read_mask, write_findings
from nnunetv2_textguided.inference.gland import gland_of_labels
from nnunetv2_textguided.inference.grid import image_like, to_cropped_grid, to_image_grid
from nnunetv2_textguided.inference.likelihood import combined_likelihood
from nnunetv2_textguided.inference.options import OutputOptions
from nnunetv2_textguided.inference.prepare import Notes
from nnunetv2_textguided.inference.sentence_prior import SentencePrior
from nnunetv2_textguided.inference.text_effect import Lesser, LessText
from nnunetv2_textguided.inference.thresholds import shift_logits
from nnunetv2_textguided.nnunet.labels import file_names
from nnunetv2_textguided.nnunet.masks import write_mask
from nnunetv2_textguided.nnunet.plans import ConfigurationManager, PlansManager

COMPRESSION = 3
"""zlib level of float maps: a tenth larger than the default, several times faster."""


PRIOR = "sentence_prior"
"""In a case's JSON: what sentences added to logits, by grade."""
COMBINED = ("combined_likelihood", "combined_from")
"""In a case's JSON: its likelihood by the model folder's regression, and from what that is."""


@dataclass(frozen=True)
class Exporter:
    """Everything but the case: the model's description, and what to write where.

    Attributes:
        plans: the model's plans.
        configuration: its configuration.
        dataset: its dataset.json.
        layout: channels of a prediction.
        output: what to write.
        label: the label whose candidates are listed; None: none.
        channels: names of the image channels.
        thresholds: label -> where its probability is cut, if not as nnU-Net does.
        fitted: label -> the threshold that was fitted for the model, whether it is used or not; the viewer offers it.
        regressions: of the likelihood on the image and what is known of a patient, if any were fitted for the model.
        prior: what sentences add to the network's logits, if it was fitted for the model.
    """

    plans: PlansManager
    configuration: ConfigurationManager
    dataset: Mapping[str, Any]
    layout: Layout
    output: OutputOptions
    label: str | None
    channels: tuple[str, ...] = field(default=())
    thresholds: Mapping[str, float] = field(default_factory=dict)
    fitted: Mapping[str, float] = field(default_factory=dict)
    regressions: tuple[LikelihoodModel, ...] = ()
    prior: SentencePrior | None = None

    def export(
        self,
        case: Case,
        predicted: np.ndarray,
        properties: dict[str, Any],
        seconds: Mapping[str, float],
        notes: Notes | None = None,
    ) -> dict[str, Any]:
        """Write a case's results; they appear together, the mask last, or not at all.

        Args:
            case: the case.
            predicted: (channels, *network grid) from the predictor.
            properties: what nnU-Net's preprocessing said about the case.
            seconds: what was spent on it so far, by step.
            notes: what a reader of its results has to know.

        Returns:
            The content of the case's JSON.
        """
        start = time.perf_counter()
        results = results_of(case, self.layout.labels, self._ending, self.output)
        self.output.folder.mkdir(parents=True, exist_ok=True)
        hidden = Path(tempfile.mkdtemp(dir=self.output.folder, prefix=f".{case.name}.", suffix=places.PARTIAL))
        try:
            for path in results.required:
                (hidden / path).parent.mkdir(parents=True, exist_ok=True)
            record = self._write(hidden, case, predicted, properties, notes or Notes())
            record["seconds"] = {**seconds, "export": time.perf_counter() - start}
            record["bytes"] = sum(path.stat().st_size for path in hidden.rglob("*") if path.is_file())
            write_json(hidden / places.CASES / f"{case.name}.json", record)
            for path in results.required:
                (self.output.folder / path).parent.mkdir(parents=True, exist_ok=True)
                (hidden / path).replace(self.output.folder / path)
        finally:
            shutil.rmtree(hidden)
        return record

    @property
    def _ending(self) -> str:
        return str(self.dataset["file_ending"])

    def _write(
        self, folder: Path, case: Case, predicted: np.ndarray, properties: dict[str, Any], notes: Notes
    ) -> dict[str, Any]:
        cropped = to_cropped_grid(predicted, properties, self.plans, self.configuration)
        logits = self._with_sentences(cropped[: self.layout.heads], case, cropped)
        self._write_mask(logits, properties, folder / case.name, self.output.probabilities)
        record: dict[str, Any] = {"case": case.name, "files": case.sources, **notes.as_json()}
        if self.thresholds:
            record["thresholds"] = dict(self.thresholds)
        if self.layout.refined:
            record["refiner_edits"] = count_edits(cropped, self.layout, self.thresholds)
        heatmaps = self._write_maps(folder, case, cropped, properties) if self.layout.explained else {}
        text = self._write_text(folder, case, cropped, properties) if case.text else None
        if text is not None:
            record["text"] = text.described()
            record |= self.prior_of(case)
        if self.label is not None:
            written = folder / (case.name + self._ending)
            maps = CaseMaps(
                self._probability(logits, properties),
                read_mask(written, self.dataset["labels"][self.label]),
                heatmaps.get(self.label),
                gland_of_labels(written, self.dataset["labels"], self.label),
                text,
            )
            known = {**record, "fitted_threshold": self.fitted.get(self.label)}
            record |= write_findings(folder, case, maps, self.label, self.channels, self.output, known)
            # The regressions were fitted on scores of the image alone.
            image = record["text"]["without"] if text is not None else record
            record |= self._combined(case, image["case_likelihood"])
        return record

    def prior_of(self, case: Case) -> dict[str, Any]:
        """What a case's JSON says of the prior that its sentences add; nothing where none does."""
        return {PRIOR: self.prior.described()} if self.prior is not None and case.text.findings else {}

    def _with_sentences(
        self, logits: np.ndarray, case: Case, cropped: np.ndarray, without: int | None = None
    ) -> np.ndarray:
        """(heads, z, y, x) logits with what the prior adds for the case's sentences.

        Args:
            logits: of the network.
            case: the case.
            cropped: all channels.
            without: index of a sentence that counts as not said.
        """
        said = [number for number in range(len(case.text.findings)) if number != without]
        if self.prior is None or not said:
            return logits
        head, maps = self.layout.head_of(self.prior.label), cropped[self.layout.told(case.text).grounded][said]
        shifted = np.array(logits, dtype=np.float32)
        maps, findings = unscaled(maps), [case.text.findings[number] for number in said]
        shifted[head] += self.prior.shift(self._chances(logits)[head], list(maps), findings)
        return shifted

    def _combined(self, case: Case, score: float) -> dict[str, Any]:
        """The likelihood from the image and what is known of the patient, and that."""
        combined = combined_likelihood(self.regressions, score, case.known)
        found = {} if combined is None else dict(zip(COMBINED, combined, strict=True))
        return {**found, "known": case.known.to_json()} if case.known else found

    def _write_mask(self, logits: np.ndarray, properties: dict[str, Any], target: Path, probabilities: bool) -> None:
        # What remains for nnU-Net's own export to do: its resampling leaves alone what has the shape already.
        model = self.configuration, self.plans, self.dataset
        if probabilities or not self.thresholds:
            write_mask(logits, properties, *model, target, probabilities)
        if self.thresholds:  # the probabilities beside it stay what they are
            heads = {self.layout.head_of(label): value for label, value in self.thresholds.items()}
            write_mask(shift_logits(logits, heads), properties, *model, target, False)

    def _write_text(self, folder: Path, case: Case, cropped: np.ndarray, properties: dict[str, Any]) -> LessText:
        """The sentences' maps and the mask without text; returns what the network finds with less text."""
        layout = self.layout.told(case.text)
        maps = []
        for number, values in enumerate(cropped[layout.grounded], start=1):
            image = self._restore(unscaled(values).astype(np.float16), properties)
            sitk.WriteImage(image, str(folder / places.sentence_map(case.name, number)), True, COMPRESSION)
            maps.append(sitk.GetArrayFromImage(image))
        less = []
        for number in range(layout.compared):
            # The first is without any text, and stays; the others are only looked at.
            target = folder / (places.WITHOUT_TEXT if number == 0 else f"without_{number}") / case.name
            target.parent.mkdir(exist_ok=True)
            logits = cropped[layout.less(number)]
            if number > 0:
                logits = self._with_sentences(logits, case, cropped, number - 1)
            self._write_mask(logits, properties, target, False)
            if self.label is not None:
                mask = read_mask(target.parent / (case.name + self._ending), self.dataset["labels"][self.label])
                less.append(Lesser(sitk.GetArrayFromImage(self._probability(logits, properties)), mask))
        return LessText(case.name, case.text, maps, less)

    def _write_maps(
        self, folder: Path, case: Case, cropped: np.ndarray, properties: dict[str, Any]
    ) -> dict[str, sitk.Image]:
        """Heatmaps and change maps; returns the heatmaps by label."""
        heatmaps, names = {}, file_names(self.layout.labels)
        for kind, channels in ((places.HEATMAPS, self.layout.heatmap), (places.CHANGES, self.layout.change)):
            for label, values in zip(self.layout.labels, cropped[channels], strict=True):
                if kind == places.HEATMAPS:
                    values = unscaled(values)
                # The accumulator had half precision: more digits would only be noise that does not compress.
                image = self._restore(values.astype(np.float16), properties)
                if kind == places.HEATMAPS:
                    heatmaps[label] = image
                if self.output.heatmaps:
                    path = folder / kind / names[label] / f"{case.name}.nii.gz"
                    sitk.WriteImage(image, str(path), True, COMPRESSION)
        return heatmaps

    def _restore(self, values: np.ndarray, properties: dict[str, Any]) -> sitk.Image:
        """Values on the cropped grid as a float image with the geometry of the case's first file."""
        return image_like(to_image_grid(values[None], properties, self.plans)[0], properties)

    def _probability(self, logits: np.ndarray, properties: dict[str, Any]) -> sitk.Image:
        """Probability of the label whose candidates are listed."""
        return self._restore(self._chances(logits)[self.layout.head_of(str(self.label))], properties)

    def _chances(self, logits: np.ndarray) -> np.ndarray:
        """(heads, z, y, x) probabilities."""
        manager = self.plans.get_label_manager(dict(self.dataset))
        return np.asarray(manager.apply_inference_nonlin(torch.as_tensor(logits)))
