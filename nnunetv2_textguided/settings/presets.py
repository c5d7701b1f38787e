"""From a user's partial `text_guidance` block to complete, validated settings.

Defaults of the models < preset (plans/<preset>.json) < the block's own keys < what a trainer class fixes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunetv2_textguided.errors import SettingsError
from nnunetv2_textguided.files import read_json, shipped, visible
from nnunetv2_textguided.settings.block import BLOCK, DEFAULT_PRESET, Settings
from nnunetv2_textguided.settings.validation import check_object, validate


def merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dictionaries merged key by key; any other value of `override` wins whole.

    nnU-Net's `inherits_from` replaces a nested block whole, which is why this exists.
    """
    merged = dict(base)
    for key, value in override.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def preset_names() -> list[str]:
    """Names of the shipped presets."""
    return [p.stem for p in visible(shipped("plans"), "*.json")]


def load_preset(name_or_path: str) -> dict[str, Any]:
    """The (partial) block of a shipped preset or of a JSON file.

    Raises:
        SettingsError: there is no such preset, or the file is not a JSON object.
    """
    path = Path(name_or_path)
    if path.suffix != ".json":
        if name_or_path not in preset_names():
            raise SettingsError(
                f"There is no preset {name_or_path!r}.",
                where=f"{BLOCK}.preset",
                remedy=f"Use one of {', '.join(preset_names())}, or the path of a .json file.",
            )
        path = shipped("plans") / f"{name_or_path}.json"
    block = read_json(path, error=SettingsError)
    if not isinstance(block, dict):
        raise SettingsError("A preset must be a JSON object.", where=path)
    return {key: value for key, value in block.items() if key != "$schema"}


def resolve(block: Mapping[str, Any] | None, *overrides: Mapping[str, Any], where: object = BLOCK) -> Settings:
    """Complete settings from a partial block.

    Args:
        block: the user's `text_guidance` block; None is the default preset.
        overrides: further blocks, each stronger than the one before.
        where: names the origin of the block in errors.

    Raises:
        SettingsError: an unknown key (with the nearest known one), a wrong type, a value out of range.
    """
    if block is not None:
        check_object(block, where)
    merged: dict[str, Any] = dict(block or {})
    for override in overrides:
        merged = merge(merged, override)
    preset = merged.get("preset", DEFAULT_PRESET)
    if not isinstance(preset, str):
        raise SettingsError("The preset must be a name or a path.", where=f"{where}.preset")
    # A block that a trainer has completed must not depend on a preset file that may have moved or changed. An earlier
    # release's lacks the keys that came later, whose defaults in the code are therefore always what was done before.
    if not (_is_resolved(merged) or _has_all_keys(merged, Settings().block())):
        merged = merge(load_preset(preset), merged)
    return validate(merged, where)


def _is_resolved(block: Mapping[str, Any]) -> bool:
    text = block.get("text")
    return isinstance(text, Mapping) and text.get("resolved") is not None


def _has_all_keys(block: Any, complete: Mapping[str, Any]) -> bool:
    return isinstance(block, Mapping) and all(
        key in block and (not isinstance(value, Mapping) or _has_all_keys(block[key], value))
        for key, value in complete.items()
    )
