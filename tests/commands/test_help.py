"""The help of every command: two examples that parse, each default, the page that says more; completion in a shell."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess

import pytest

from nnunetv2_textguided import cli
from nnunetv2_textguided.commands.examples import EXAMPLES
from nnunetv2_textguided.commands.parser import SUBCOMMANDS, build_parser, commands
from tests.conftest import REPOSITORY

PARSER = build_parser(SUBCOMMANDS)
ALL = {
    full: inner
    for action in PARSER._actions
    if isinstance(action, argparse._SubParsersAction)
    for name, parser in action.choices.items()
    for full, inner in commands(name, parser)
}
LEAVES = {
    name: parser
    for name, parser in ALL.items()
    if not any(isinstance(action, argparse._SubParsersAction) for action in parser._actions)
}


def test_every_command_has_examples_and_no_other() -> None:
    assert set(EXAMPLES) == set(LEAVES)


@pytest.mark.parametrize("name", LEAVES)
def test_help_has_two_examples_and_a_page(name: str) -> None:
    text = LEAVES[name].format_help()
    page, *examples = EXAMPLES[name]
    assert len(set(examples)) >= 2
    assert all(f"nnUNetv2_textguided {example}" in text for example in examples)
    assert f"more: docs/{page}" in text
    assert (REPOSITORY / "docs" / page).is_file()


@pytest.mark.parametrize("name", LEAVES)
def test_examples_are_valid(name: str) -> None:
    for example in EXAMPLES[name][1:]:
        assert example.split()[: len(name.split())] == name.split()
        PARSER.parse_args(shlex.split(example))


@pytest.mark.parametrize("name", LEAVES)
def test_options_have_a_text_and_state_their_default(name: str) -> None:
    formatter = LEAVES[name]._get_formatter()
    for action in LEAVES[name]._actions:
        text = formatter._expand_help(action) if action.help else ""
        assert text, f"{name} {action.dest} has no text"
        if action.option_strings and action.nargs != 0 and not action.required and action.default is not None:
            assert "default" in text.casefold(), f"{name} {action.option_strings}"


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_prints_a_script_that_names_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(name in script for name in SUBCOMMANDS)
    assert "--heatmaps" in script or shell == "tcsh"  # tcsh completes words by their place


def test_bash_completes_commands_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    assert cli.main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    function = re.search(r"complete .*-F (\w+) nnUNetv2_textguided", script)
    assert function is not None

    def complete(*words: str) -> set[str]:
        line = " ".join(shlex.quote(word) for word in words)
        ask = f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; {function[1]}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        done = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, timeout=60)
        return {word.strip() for word in done.stdout.splitlines()}

    assert {"predict", "predict-case", "prompts"} <= complete("nnUNetv2_textguided", "pr") | complete(
        "nnUNetv2_textguided", "p"
    )
    assert "--heatmaps" in complete("nnUNetv2_textguided", "predict", "--he")
