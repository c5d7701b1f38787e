"""What README and docs tell the reader to type works, or says on what it depends."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.docs.blocks import LANGUAGES, REASONS, RUN, Block, blocks
from tests.docs.dataset import NAME
from tests.packaging.environment import Environment

FILES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
# A reader's patience is not a test's: what only makes commands faster is set here, not in the documentation.
QUICK = {"nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "1", "nnUNet_compile": "f"}


def executed(file: Path) -> list[Block]:
    return [block for block in blocks(file) if block.language in RUN and not block.needs]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_blocks_have_a_known_language_and_reason(file: Path) -> None:
    for block in blocks(file):
        assert block.language in LANGUAGES, f"{block.place}: language {block.language!r}"
        assert set(block.needs) <= set(REASONS), f"{block.place}: needs {block.needs}"
        if block.language == "json":
            json.loads(block.code)


@pytest.mark.slow
@pytest.mark.parametrize("installed", ["wheel"], indirect=True)
@pytest.mark.parametrize("file", [file for file in FILES if executed(file)], ids=lambda file: file.name)
def test_blocks_run_in_the_order_of_the_page(file: Path, user: Environment, tmp_path: Path) -> None:
    # The reader's own images, under the name that the pages give them.
    shutil.copytree(user.nnunet / "raw" / NAME / "imagesTs", tmp_path / "new_patients")
    for block in executed(file):
        program = ["bash", "-euo", "pipefail", "-c"] if block.language == "bash" else [str(user.python), "-c"]
        done = subprocess.run(
            [*program, block.code],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=user.variables(**QUICK),
            timeout=500,
        )
        assert done.returncode == 0, f"{block.place} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    if file.name == "README.md":
        assert list((tmp_path / "predictions").glob("*.nii.gz"))


def test_a_block_without_mark_is_executed_and_a_mark_covers_only_the_next_block(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- needs: gpu -->\n\n```bash\na\n```\n\ntext\n\n```bash\nb\n```\n\n```text\nc\n```\n")
    assert [(block.needs, block.code) for block in blocks(page)] == [(("gpu",), "a\n"), ((), "b\n"), ((), "c\n")]
    assert [block.code for block in executed(page)] == ["b\n"]
