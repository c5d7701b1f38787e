"""The generated parts of the documentation are current, and the schema accepts and rejects what the package does."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from nnunetv2_textguided.commands.parser import SUBCOMMANDS
from nnunetv2_textguided.errors import SettingsError
from nnunetv2_textguided.settings import Settings
from nnunetv2_textguided.settings.presets import preset_names, resolve

REGENERATE = "outdated: run `make docs`"


@pytest.fixture(scope="module")
def generator(repository: Path) -> dict[str, Any]:
    return runpy.run_path(str(repository / "docs" / "generate.py"))


@pytest.fixture(scope="module")
def validator(repository: Path) -> jsonschema.protocols.Validator:
    schema = json.loads((repository / "plans/schema/text_guidance.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_settings_reference_is_current(generator: dict[str, Any], repository: Path) -> None:
    assert (repository / generator["REFERENCE"]).read_text(encoding="utf-8") == generator["reference_text"](), (
        REGENERATE
    )


def test_commands_reference_is_current(generator: dict[str, Any], repository: Path) -> None:
    text = generator["commands_text"]()
    assert (repository / generator["COMMANDS"]).read_text(encoding="utf-8") == text, REGENERATE
    assert all(f"\n## {name}" in text for name in SUBCOMMANDS)


def test_schema_is_current(generator: dict[str, Any], repository: Path) -> None:
    assert (repository / generator["SCHEMA"]).read_text(encoding="utf-8") == generator["schema_text"](), REGENERATE


def test_reference_names_every_key(generator: dict[str, Any]) -> None:
    text = generator["reference_text"]()
    for key, value in Settings().block().items():
        for name in [key, *(value if isinstance(value, dict) else ())]:
            assert f"`{name}`" in text


@pytest.mark.parametrize("name", preset_names())
def test_presets_name_the_schema_and_are_valid(name: str, repository: Path, validator: Any) -> None:
    path = repository / "plans" / f"{name}.json"
    preset = json.loads(path.read_text(encoding="utf-8"))
    assert (path.parent / preset["$schema"]).is_file()
    assert preset["preset"] == name
    validator.validate(preset)


def test_schema_accepts_a_complete_block(validator: Any) -> None:
    validator.validate(Settings().block())


@pytest.mark.parametrize(
    "block",
    [{"refiner": {"taw": 0.3}}, {"alignment": {"weight": -1.0}}, {"text": {"control": "noise"}}, {"version": 2}],
    ids=["unknown key", "out of range", "unknown choice", "unknown version"],
)
def test_schema_rejects_what_the_package_rejects(block: dict[str, Any], validator: Any) -> None:
    with pytest.raises(SettingsError):
        resolve(block)
    assert not validator.is_valid(block)
