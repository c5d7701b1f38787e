"""docs/paper_preset.md against the preset that it describes."""

from __future__ import annotations

import json
import re
from pathlib import Path

from nnunetv2_textguided.settings.presets import load_preset, resolve


def rows(repository: Path) -> dict[str, object]:
    """The keys of the table of what is the same, with the released code's values."""
    page = (repository / "docs" / "paper_preset.md").read_text(encoding="utf-8")
    table = page.split("## The same")[1].split("\n## ")[0]
    return {key: json.loads(value) for key, value in re.findall(r"^\| `([\w.]+)` \| (.+) \|$", table, re.MULTILINE)}


def test_the_page_states_the_values_of_the_preset(repository: Path) -> None:
    stated = rows(repository)
    assert len(stated) > 25
    settings = resolve({"preset": "paper"}).block()
    for name, value in stated.items():
        section, key = name.split(".")
        assert settings[section][key] == value, name


def test_the_page_mentions_every_key_of_the_preset(repository: Path) -> None:
    page = (repository / "docs" / "paper_preset.md").read_text(encoding="utf-8")
    keys = [f"{s}.{k}" for s, keys in load_preset("paper").items() if isinstance(keys, dict) for k in keys]
    assert [key for key in keys if f"`{key}`" not in page] == []


def test_epochs_of_the_released_code_come_out(repository: Path) -> None:
    settings = resolve({"preset": "paper"})
    epochs, schedule = settings.training.epochs or 0, settings.schedule
    fractions = (schedule.warmup, schedule.ramp, schedule.latest_ramp_start, schedule.refine_ramp)
    assert [round(fraction * epochs) for fraction in fractions] == [80, 50, 130, 50]
