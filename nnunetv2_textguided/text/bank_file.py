"""The JSON form of a prompt bank: shipped by name, or a user's file.

    {"name": "mine",                                     (optional, like every key but "labels")
     "description": "what it is for",
     "labels": {"csPCa": "one prompt",
                "PZ": ["several", "prompts"],
                "TZ": {"prompts": [...], "templates": [...], "aliases": [...]}},
     "context": ["positive descriptions of everything else"],
     "templates": ["{}", "T2-weighted MRI showing {}"]}

Templates are prompt ensembling: every prompt is put into every template, and each sentence becomes a prompt of its
own, so that what a bank says is always a plain list of sentences.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nnunetv2_textguided.errors import PromptBankError
from nnunetv2_textguided.files import read_json, shipped, visible

FOLDER = "prompts"
_BANK_KEYS = ("name", "description", "labels", "context", "templates", "$schema")
_LABEL_KEYS = ("prompts", "templates", "aliases")
_MAX_BYTES = 16 << 20


class ParsedBank(NamedTuple):
    """The fields of a PromptBank as a JSON file states them, templates filled in."""

    name: str | None
    class_prompts: dict[str, tuple[str, ...]]
    context_prompts: tuple[str, ...]
    aliases: dict[str, tuple[str, ...]]


def bank_names() -> list[str]:
    """Names of the shipped banks."""
    return [path.stem for path in visible(shipped("plans") / FOLDER, "*.json")]


def read_bank_json(name_or_path: str) -> tuple[str, Any, str]:
    """Name, content and origin of a shipped bank or of a JSON file.

    Raises:
        PromptBankError: there is no such bank, or the file is not JSON or repeats a key.
    """
    path = Path(name_or_path)
    if path.suffix.lower() != ".json":
        if name_or_path not in bank_names():
            raise PromptBankError(
                f"There is no prompt bank {name_or_path!r}.",
                where="text.prompts or --prompts",
                remedy=f"Use one of {', '.join(bank_names())}, or the path of a .json file.",
            )
        path = shipped("plans") / FOLDER / f"{name_or_path}.json"
    return path.stem, read_json(path, error=PromptBankError, max_bytes=_MAX_BYTES, unique_keys=True), str(path)


def parse_bank(content: Any, where: str) -> ParsedBank:
    """Check the structure of a bank's JSON and fill in the templates.

    Raises:
        PromptBankError: an unknown key, a wrong type, an empty list, a template without place for the prompt.
    """
    if not isinstance(content, dict):
        raise PromptBankError(f"A prompt bank must be a JSON object, not {_kind(content)}.", where=where)
    _check_keys(content, _BANK_KEYS, where)
    labels = content.get("labels")
    if not isinstance(labels, dict):
        raise PromptBankError("'labels' must be a JSON object: label -> prompts.", where=where, remedy="Add it.")
    name = content.get("name")
    if name is not None and not isinstance(name, str):
        raise PromptBankError(f"'name' must be text, not {_kind(name)}.", where=where)
    templates = _templates(content.get("templates"), f"{where}: templates")
    class_prompts, aliases = {}, {}
    for label, entry in labels.items():
        class_prompts[label], aliases[label] = _parse_label(entry, templates, f"{where}: label {label!r}")
    context = _texts(content.get("context", []), f"{where}: context", may_be_empty=True)
    # The context gets the same templates: were only class prompts sentences, the style would tell them apart.
    return ParsedBank(name, class_prompts, _fill(templates, context), aliases)


def _parse_label(entry: Any, templates: Sequence[str], where: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if not isinstance(entry, dict):
        return _fill(templates, _texts(entry, where)), ()
    _check_keys(entry, _LABEL_KEYS, where)
    own = _templates(entry["templates"], f"{where}: templates") if "templates" in entry else templates
    aliases = _texts(entry.get("aliases", []), f"{where}: aliases", may_be_empty=True)
    return _fill(own, _texts(entry.get("prompts", []), where)), aliases


def _fill(templates: Sequence[str], prompts: Sequence[str]) -> tuple[str, ...]:
    return tuple(template.replace("{}", prompt) for prompt in prompts for template in templates)


def _templates(value: Any, where: str) -> tuple[str, ...]:
    if value is None:
        return ("{}",)
    templates = _texts(value, where)
    for template in templates:
        if template.count("{}") != 1:
            raise PromptBankError(
                f"The template {template!r} must contain {{}} exactly once.", where=where, remedy="Mark the place."
            )
    return templates


def _texts(value: Any, where: str, *, may_be_empty: bool = False) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list):
        raise PromptBankError(f"Expected text or a list of texts, got {_kind(value)}.", where=where)
    if not texts and not may_be_empty:
        raise PromptBankError("The list is empty.", where=where, remedy="Give at least one entry, or remove the key.")
    for text in texts:
        if not isinstance(text, str):
            raise PromptBankError(f"Expected text, got {_kind(text)}.", where=where)
    return tuple(texts)


def _check_keys(entry: dict[str, Any], known: Sequence[str], where: str) -> None:
    for key in entry:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}."
            raise PromptBankError(f"Unknown key {key!r}; {hint}", where=where)


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
