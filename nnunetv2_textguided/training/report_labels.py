"""Which labels reports count, and whether a data set and a configuration can be learned from reports at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnunetv2_textguided.errors import SettingsError
from nnunetv2_textguided.nnunet.labels import read_labels
from nnunetv2_textguided.nnunet.plans import LabelManager
from nnunetv2_textguided.settings import SupervisionSettings

_WHERE = "text_guidance.text.supervision"


def reported_channels(
    settings: SupervisionSettings, dataset_json: Mapping[str, Any], manager: LabelManager, axes: int
) -> tuple[int, ...]:
    """The output channels of the labels that reports count.

    Args:
        settings: of the supervision, which is on.
        dataset_json: the data set's description.
        manager: its labels.
        axes: of a patch.

    Raises:
        SettingsError: the labels are regions, none is the ignore label, there is no such label, or patches are slices.
    """
    if manager.has_regions:
        raise SettingsError(
            "Losses from reports cannot be used with region-based labels.",
            where=f"{_WHERE}.enabled",
            remedy="Give each region a label of its own, or set text.supervision.enabled to false.",
        )
    if not manager.has_ignore_label:
        raise SettingsError(
            "The data set has no label 'ignore', which cases without an outline have everywhere.",
            where=f"{_WHERE}.enabled; dataset.json, labels",
            remedy="Add such cases and the label, or set text.supervision.enabled to false.",
        )
    if axes != 3:
        raise SettingsError(
            "Reports say where in a volume a lesion is; this configuration is trained on slices.",
            where=f"{_WHERE}.enabled",
            remedy="Use 3d_fullres or 3d_lowres, or set text.supervision.enabled to false.",
        )
    labels = read_labels(dataset_json)
    unknown = [name for name in settings.labels or () if name not in labels.foreground]
    if unknown:
        raise SettingsError(
            f"There is no label {unknown[0]!r}; the labels are {', '.join(labels.foreground)}.",
            where=f"{_WHERE}.labels",
        )
    return tuple(labels.values[name][0] for name in settings.labels or labels.foreground)
