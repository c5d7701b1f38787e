"""Writes what is generated from the code (`make docs`): settings, the JSON schema of presets, commands."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nnunetv2_textguided.commands.examples import EXAMPLES
from nnunetv2_textguided.commands.parser import PROGRAM, SUBCOMMANDS, build_parser, commands
from nnunetv2_textguided.files import write_text
from nnunetv2_textguided.settings import Settings
from nnunetv2_textguided.settings.presets import preset_names, resolve

REPOSITORY = Path(__file__).resolve().parents[1]
SCHEMA = Path("plans/schema/text_guidance.schema.json")
REFERENCE = Path("docs/settings.md")
COMMANDS = Path("docs/commands.md")

INTRODUCTION = """\
# Settings

<!-- Generated from nnunetv2_textguided/settings/ by `make docs`. Do not edit. -->

Every hyper-parameter of the method is a key of the block `text_guidance` in a configuration of nnU-Net's plans,
`nnUNet_preprocessed/<dataset>/<plans>.json`. The block is optional, and so is each of its keys:

```json
{"configurations": {"3d_fullres": {"text_guidance": {"preset": "align_refine", "training": {"epochs": 250}}}}}
```

A key that is absent has the preset's value, and where the preset is silent, the default below. Unknown keys, wrong
types and values out of range are errors that name the key. The trainer writes the complete block into the model
folder's `plans.json` and into every checkpoint, so a trained model describes itself. Editors that understand JSON
schemas can check a block against
[`plans/schema/text_guidance.schema.json`](../plans/schema/text_guidance.schema.json).

Planning again with nnU-Net erases blocks inside configurations it plans (`3d_fullres`, `2d`); configurations under
names of your own (`"my_config": {"inherits_from": "3d_fullres", "text_guidance": {...}}`) survive.
"""


def schema() -> dict[str, Any]:
    """JSON schema of a (partial) `text_guidance` block, as presets are."""
    generated = Settings.model_json_schema(mode="validation")
    generated["properties"]["$schema"] = {"type": "string", "description": "Location of this schema."}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **generated,
        "title": "text_guidance block or preset of nnunetv2-textguided",
    }


def schema_text() -> str:
    """The schema file's content."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def reference_text() -> str:
    """The content of docs/settings.md."""
    return "\n".join([INTRODUCTION, *_sections(schema()), *_presets()]).rstrip() + "\n"


def _sections(block: dict[str, Any]) -> Iterator[str]:
    definitions = block["$defs"]
    plain = {key: value for key, value in block["properties"].items() if not _model(value) and key != "$schema"}
    yield "## Top level\n"
    yield from _table(plain, definitions)
    for key, value in block["properties"].items():
        if model := _model(value):
            yield f"## `{key}`\n\n{definitions[model]['description']}\n"
            yield from _table(definitions[model]["properties"], definitions)
            for name, nested in definitions[model]["properties"].items():
                if (inner := _model(nested)) is not None:
                    yield f"### `{key}.{name}`\n\n{definitions[inner]['description']}\n"
                    yield from _table(definitions[inner]["properties"], definitions)


def _model(value: dict[str, Any]) -> str | None:
    """The name of the model that a property holds, or None if it holds a plain value."""
    for choice in (value, *value.get("anyOf", ())):
        if "$ref" in choice:
            return str(choice["$ref"].rsplit("/", 1)[-1])
    return None


def _table(properties: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    yield "| key | values | default | meaning |\n|---|---|---|---|"
    for key, value in properties.items():
        default = f"`{json.dumps(value['default'])}`" if "default" in value else "required"
        meaning = value.get("description") or definitions[_model(value) or ""]["description"]
        cells = (f"`{key}`", _values(value), default, " ".join(meaning.split()))
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


def _values(value: dict[str, Any]) -> str:
    """Type and range in words."""
    if "anyOf" in value:
        return " or ".join(_values(choice) for choice in value["anyOf"])
    if "const" in value:
        return f"`{json.dumps(value['const'])}`"
    if "enum" in value:
        return ", ".join(f"`{json.dumps(choice)}`" for choice in value["enum"])
    if "$ref" in value:
        return "object"
    if value["type"] == "array":
        return f"list of {_values(value['items'])}"
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {value[name]:g}" for name, sign in bounds.items() if name in value]
    return ", ".join([value["type"], *limits])


def _presets() -> Iterator[str]:
    yield "## Shipped presets\n\nWhat each preset (`plans/<preset>.json`) changes of the defaults above.\n"
    defaults = Settings().block()
    for name in preset_names():
        changes = sorted(_differences(resolve({"preset": name}).block(), defaults))
        yield f"### `{name}`\n"
        if not changes:
            yield "Nothing: these are the defaults.\n"
            continue
        yield "| key | value | default |\n|---|---|---|"
        yield from (f"| `{key}` | `{json.dumps(value)}` | `{json.dumps(old)}` |" for key, value, old in changes)
        yield ""


def _differences(block: dict[str, Any], defaults: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    for key, value in block.items():
        if isinstance(value, dict) and isinstance(defaults[key], dict):
            yield from _differences(value, defaults[key], f"{prefix}{key}.")
        elif value != defaults[key] and prefix + key != "preset":
            yield prefix + key, value, defaults[key]


def commands_text() -> str:
    """The content of docs/commands.md."""
    return "\n".join(_commands()).rstrip() + "\n"


def _commands() -> Iterator[str]:
    yield "# Commands\n\n<!-- Generated from the parsers by `make docs`. Do not edit. -->\n"
    yield f"`{PROGRAM} COMMAND --help` prints the same."
    yield "Exit status: 0 done, 1 an error that says what to do, 2 wrong usage.\n"
    (subparsers,) = (a for a in build_parser(SUBCOMMANDS)._actions if isinstance(a, argparse._SubParsersAction))
    for name in sorted(SUBCOMMANDS):
        for full, parser in commands(name, subparsers.choices[name]):
            if full not in EXAMPLES:
                continue
            page, *examples = EXAMPLES[full]
            yield f"## {full}\n\n{SUBCOMMANDS[name][0].upper()}{SUBCOMMANDS[name][1:]}. More: [{page}]({page}).\n"
            yield "```text\n" + "\n".join(f"{PROGRAM} {example}" for example in examples) + "\n```\n"
            yield from _options(parser)


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield "| option | meaning |\n|---|---|"
    formatter = parser._get_formatter()
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        names = ", ".join(f"`{word}`" for word in action.option_strings) or f"`{action.metavar or action.dest}`"
        meaning = " ".join(formatter._expand_help(action).split())
        choices = f": {', '.join(map(str, action.choices))}" if action.choices else ""
        needed = " **required**" if action.required and action.option_strings else ""
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in (names + needed, meaning + choices)) + " |"
    yield ""


def main() -> None:
    """Write the files into the repository."""
    written = ((SCHEMA, schema_text()), (REFERENCE, reference_text()), (COMMANDS, commands_text()))
    for path, text in written:
        write_text(REPOSITORY / path, text)
        print(path)


if __name__ == "__main__":
    main()
