"""README.md of a shared model: metadata that the Hugging Face hub reads, and what a user has to know."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import mean
from typing import Any

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.inference.inspection.report import ModelReport
from nnunetv2_textguided.text.resolve import bank_of
from nnunetv2_textguided.text.similarity import prompt_table

KNOWN = (
    *("apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-4.0"),
    *("cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "odbl", "unlicense", "other"),
)
"""Licences by the names that the hub knows; others are written as `other` with their name."""


@dataclass(frozen=True)
class Licences:
    """Of the weights and of the data that they were trained on, as somebody wrote them."""

    weights: str
    data: str

    @classmethod
    def of(cls, description: Mapping[str, Any], weights: str | None, data: str | None) -> Licences:
        """What was chosen, else what dataset.json says, else an error; weights without a choice have the data's.

        Raises:
            DataError: nothing says under which licence the training data are.
        """
        data = data or description.get("licence") or description.get("license")
        if not isinstance(data, str) or not data.strip():
            raise DataError(
                "Nothing says under which licence the training data are.",
                where="dataset.json: licence",
                remedy="Give it with --data-licence, for example --data-licence 'CC BY-NC 4.0'.",
            )
        return cls((weights or data).strip(), data.strip())

    @property
    def non_commercial(self) -> bool:
        """Whether the training data may not be used commercially."""
        text = self.data.casefold().replace("-", " ")
        return "nc" in text.split() or "noncommercial" in text or "non commercial" in text


def hub_name(licence: str) -> str:
    """The hub's name of a licence: lower case with hyphens."""
    name = "-".join(licence.casefold().split())
    return name if name in KNOWN else "other"


def model_card(report: ModelReport, description: Mapping[str, Any], licences: Licences, body: str | None) -> str:
    """Markdown with the hub's metadata in front.

    Args:
        report: of the model.
        description: its dataset.json.
        licences: of weights and data.
        body: further Markdown, put before the licence; its headings follow those of the card.
    """
    return "\n".join([*_metadata(report, licences), *_text(report, description, licences, body)]) + "\n"


def _metadata(report: ModelReport, licences: Licences) -> Iterator[str]:
    licence, dataset = hub_name(licences.weights), report.dataset or "unknown"
    values: dict[str, Any] = {"license": licence}
    if licence == "other":
        values["license_name"] = licences.weights
    values |= {
        "library_name": "nnunetv2-textguided",
        "pipeline_tag": "image-segmentation",
        "tags": ["nnU-Net", "medical-imaging", "3d-segmentation", "text-guided", "research-only"],
        "datasets": [dataset],
    }
    dice = _dice(report)
    if dice is not None:
        task = {"type": "image-segmentation", "name": "3D segmentation, cross-validation"}
        metric = {"type": "dice", "name": "mean foreground Dice", "value": round(dice, 4)}
        data = {"name": dataset, "type": dataset}
        result = {"name": report.trainer or "model", "results": [{"task": task, "dataset": data, "metrics": [metric]}]}
        values["model-index"] = [result]
    yield "---"
    # JSON's values are YAML's, too: no library is needed, and whatever a name holds is quoted.
    yield from (f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())
    yield "---"


def _dice(report: ModelReport) -> float | None:
    found = [fold.validation_dice for fold in report.folds if fold.validation_dice is not None]
    return mean(found) if found else None


def _text(report: ModelReport, description: Mapping[str, Any], licences: Licences, body: str | None) -> Iterator[str]:
    channels = description.get("channel_contents") or description.get("channel_names") or {}
    dice = _dice(report)
    yield f"# {report.trainer} on {report.dataset}"
    yield ""
    yield "Research on segmentation only. Not a medical device; not evaluated for diagnosis."
    yield ""
    yield "## Use"
    yield ""
    yield "```bash\npip install nnunetv2-textguided\nnnUNetv2_textguided install-model FOLDER_OR_ZIP_OR_HUB_NAME\n```"
    yield ""
    yield "Nothing in this folder is executed: weights are safetensors, the rest is JSON, and each file's SHA-256 is in"
    yield "`config.json`. The optimiser's state is left out: the model predicts and can be fine-tuned, not continued."
    yield ""
    yield "## Model"
    yield ""
    yield f"- Trainer `{report.trainer}`, plans `{report.plans_name}`, configuration `{report.configuration}`"
    yield f"- Folds: {', '.join(fold.name for fold in report.folds)}"
    yield f"- Channels, in order: {', '.join(map(str, channels.values()))}"
    yield f"- Labels: {', '.join(map(str, description.get('labels', {})))}"
    yield f"- Software: {', '.join(f'{k} {v}' for k, v in report.software.items()) or 'not recorded'}"
    yield f"- Mean foreground Dice of the validation cases: {'not recorded' if dice is None else f'{dice:.4f}'}"
    yield from _prompts(report)
    yield ""
    if body:
        # One title per page: those of the text that is put in become sections.
        yield "\n".join("#" + line if line.startswith("#") else line for line in body.strip().splitlines())
        yield ""
    yield "## Licence"
    yield ""
    yield f"- Weights: {licences.weights}"
    yield f"- Training data: {licences.data} ({report.dataset})"
    yield from (f"- {key}: {description[key]}" for key in ("reference", "description") if description.get(key))
    if licences.non_commercial:
        yield "- **No commercial use: the licence of the training data, of which the weights are made, excludes it.**"
    yield "- Software: nnunetv2-textguided, Apache-2.0; please cite it, nnU-Net and arXiv 2604.18713"


def _prompts(report: ModelReport) -> Iterator[str]:
    settings = report.settings
    if settings is None or not settings.uses_text or settings.text.resolved is None:
        yield "- Text: none"
        return
    resolved = settings.text.resolved
    encoder = f"{resolved.encoder.get('id')} ({resolved.encoder.get('licence')})"
    yield f"- Text: {len(resolved.prompts)} prompts, encoder {encoder}"
    yield ""
    yield f"```text\n{prompt_table(bank_of(resolved))}\n```"
