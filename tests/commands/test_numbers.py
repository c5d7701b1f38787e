"""Numbers on the command line are checked when they are typed: before any folder is looked at."""

from __future__ import annotations

import argparse
import importlib

import pytest

from nnunetv2_textguided.cli import SUBCOMMANDS, main

PREDICT = ("predict", "-i", "absent", "-o", "absent")
CHECK, EVALUATE = ("picai", "check", "absent"), ("picai", "evaluate", "--predictions", "absent", "--labels", "absent")


@pytest.mark.parametrize(
    ("words", "option", "value"),
    [
        *((PREDICT, "-step_size", value) for value in ("0", "1.5", "-0.5", "nan", "inf", "half")),
        *((PREDICT, option, "-1") for option in ("-npp", "-nps", "-part_id", "--hours", "--cpus")),
        *((PREDICT, option, "0") for option in ("-num_parts", "--jobs", "--hours", "--cpus")),
        (PREDICT, "-npp", "1.5"),
        (CHECK, "--jobs", "0"),
        *((EVALUATE, "--mask-threshold", value) for value in ("0", "1", "2", "nan")),
        *((EVALUATE, option, "-1") for option in ("--fold", "--bootstrap", "--seed", "--jobs")),
        (("plan", "-d", "9"), "--gpu-memory", "0"),
        (("plan", "-d", "9"), "--encoder-width", "-1"),
        (("plan", "-d", "9"), "--shared-from-stage", "-1"),
        (("demo",), "--seed", "-1"),
        (("anatomy", "-d", "9"), "-np", "0"),
        (("benchmark", "report", "-d", "9"), "--level", "95"),
        (("benchmark", "report", "-d", "9"), "--resamples", "0"),
    ],
)
def test_a_value_out_of_range_is_named_with_its_option_and_what_is_allowed(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], option: str, value: str
) -> None:
    assert main([*words, option, value]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert f"where: {option}" in error
    assert "what to do: A " in error


def options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    found = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                found += options(inner)
        else:
            found.append(action)
    return found


@pytest.mark.parametrize("name", sorted(SUBCOMMANDS))
def test_no_option_takes_any_number_whatever(name: str) -> None:
    parser = argparse.ArgumentParser()
    importlib.import_module(f"nnunetv2_textguided.commands.{name.replace('-', '_')}").add_arguments(parser)
    unchecked = [action.option_strings for action in options(parser) if action.type in (int, float)]
    assert unchecked == []
