"""Which `text_guidance` block a planned configuration gets: what was asked for, over what the user had written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnunetv2_textguided.settings import BLOCK, DEFAULT_PRESET, Settings
from nnunetv2_textguided.settings.presets import load_preset, merge, resolve


@dataclass(frozen=True)
class PlanRequest:
    """What a user asks of the planner beyond nnU-Net's own options.

    Attributes:
        preset: name or path; None: that of the plans that are replaced, else the default.
        encoders: keys of `encoders` that override preset and former plans.
        constant_cost: how encoders are made to cost what stock nnU-Net's one encoder costs: "narrow", "shared" or None.
        reset_settings: forget the blocks of the plans that are replaced.
        topology_of: plans whose network topology is kept, whatever the patch size.
    """

    preset: str | None = None
    encoders: Mapping[str, Any] = field(default_factory=dict)
    constant_cost: str | None = None
    reset_settings: bool = False
    topology_of: str | None = None


@dataclass(frozen=True)
class PlannedBlock:
    """A configuration's block, and what the user should know about how it came to be.

    Attributes:
        block: the block for the plans, partial if it names a shipped preset.
        notes: sentences for the user.
    """

    block: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def settings(self) -> Settings:
        """The complete settings."""
        return resolve(self.block)


def configuration_block(request: PlanRequest, former: Mapping[str, Any] | None, where: str) -> PlannedBlock:
    """The block of one configuration.

    Args:
        request: what is asked for.
        former: the configuration's block in the plans that are replaced; None: there is none.
        where: names the configuration in errors and notes.

    Raises:
        SettingsError: the preset, the former block or the result is not valid.
    """
    notes = []
    kept: dict[str, Any] = {}
    if former is not None:
        kept = {key: value for key, value in former.items() if key not in ("preset", "version")}
        if request.reset_settings:
            notes += [f"forgotten as asked: {_listing(kept)}"] if kept else []
            kept = {}
        elif kept:
            notes.append(f"kept from the former plans: {_listing(kept)}")
    before = None if former is None or request.reset_settings else former.get("preset")
    preset = request.preset or before or DEFAULT_PRESET
    if kept and before is not None and request.preset not in (None, before):
        notes.append(f"they override the preset {preset!r} (was {before!r}); --reset-settings forgets them")
    block = merge(_base(preset), kept)
    if request.encoders:
        block = merge(block, {"encoders": dict(request.encoders)})
    resolve(block, where=f"{where}, {BLOCK}")
    return PlannedBlock(block, tuple(f"{where}: {note}" for note in notes))


def _base(preset: str) -> dict[str, Any]:
    """A shipped preset is named; a file's content is copied, since the file may move or change."""
    if Path(preset).suffix != ".json":
        load_preset(preset)
        return {"preset": preset}
    return resolve({"preset": preset}).block()


def _listing(block: Mapping[str, Any], prefix: str = "") -> str:
    """Keys and values of a nested block on one line."""
    parts = []
    for key, value in block.items():
        if isinstance(value, Mapping):
            parts.append(_listing(value, f"{prefix}{key}."))
        else:
            text = repr(value)
            parts.append(f"{prefix}{key} = {text if len(text) <= 60 else text[:57] + '...'}")
    return ", ".join(part for part in parts if part)
