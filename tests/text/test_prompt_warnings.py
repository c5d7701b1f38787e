from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nnunetv2_textguided.text.bank import PromptBank, load_bank
from nnunetv2_textguided.text.embeddings import TextEmbeddings
from nnunetv2_textguided.text.prompt_warnings import check_bank, check_embeddings
from nnunetv2_textguided.text.similarity import cosine_table, draw_cosines, prompt_table
from nnunetv2_textguided.text.source import open_source
from tests.text.conftest import IDENTITY


def placed(bank: PromptBank, degrees: list[float]) -> TextEmbeddings:
    """Embeddings at angles in the plane, so that every cosine is known."""
    angles = np.deg2rad(degrees)
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    return TextEmbeddings(bank, rows, provenance={"encoder": IDENTITY})


@pytest.mark.parametrize(
    "prompt",
    ["no lesion", "tissue without cancer", "Not a tumour", "absence of disease", "free of tumour", "isn't a lesion"],
)
def test_negations_are_found(prompt: str) -> None:
    assert [f.kind for f in check_bank(PromptBank("b", {"x": (prompt,)}, ("rest",)))] == ["negation"]


@pytest.mark.parametrize("prompt", ["normal tissue", "node", "nodule", "non-enhancing tumor", "northern lacking"[:8]])
def test_words_that_only_look_negated_pass(prompt: str) -> None:
    assert check_bank(PromptBank("b", {"x": (prompt,)}, ("rest",))) == []


def test_duplicates_are_found_within_and_between_groups() -> None:
    bank = PromptBank("b", {"x": ("one", "One"), "y": ("two",)}, ("two", "rest"))
    messages = [f.message for f in check_bank(bank) if f.kind == "duplicate"]
    assert messages == [
        "'one' occurs 2 times in x",
        "'two' is a prompt of y and of context, which it cannot tell apart",
    ]


def test_missing_context_is_found_for_a_single_label_only() -> None:
    assert [f.kind for f in check_bank(load_bank("paper"))] == ["no context"]
    assert check_bank(PromptBank("b", {"x": ("one",), "y": ("two",)})) == []


def test_prompt_nearer_to_the_context_than_to_its_own_class_is_found() -> None:
    bank = PromptBank("b", {"x": ("one", "two")}, ("rest",))
    assert check_embeddings(placed(bank, [0, 20, 60])) == []
    mixed = check_embeddings(placed(bank, [0, 40, 60]))
    assert [f.kind for f in mixed] == ["mixing"]
    assert "'two' (x) is closer to 'rest' (context, 0.94)" in mixed[0].message


def test_prompt_nearer_to_another_class_is_found() -> None:
    bank = PromptBank("b", {"x": ("one", "two"), "y": ("three", "four")}, ())
    assert {f.message[:5] for f in check_embeddings(placed(bank, [0, 50, 60, 110]))} == {"'two'", "'thre"}


def test_same_embedding_in_two_groups_is_found() -> None:
    bank = PromptBank("b", {"x": ("one",)}, ("rest",))
    assert [f.kind for f in check_embeddings(placed(bank, [0, 2]))] == ["indistinct"]


@pytest.mark.parametrize("bank", ["default", "zones", "generic"])
def test_shipped_banks_have_no_warnings_with_the_packaged_embeddings(bank: str) -> None:
    embeddings = open_source(bank).embeddings
    assert embeddings is not None
    assert check_embeddings(embeddings) == []


def test_tables_number_prompts_alike() -> None:
    bank = PromptBank("b", {"x": ("one", "two")}, ("rest",))
    assert prompt_table(bank).splitlines() == ["label x", "    0  one", "    1  two", "context", "    2  rest"]
    lines = cosine_table(placed(bank, [0, 60, 90])).splitlines()
    assert lines[2].split() == ["0", "100", "50", "0"]


def test_picture_is_a_png_also_for_odd_prompts(tmp_path: Path) -> None:
    bank = PromptBank("b", {"x": ("$one$ \\frac", "t" * 300)}, ("rest",))
    draw_cosines(placed(bank, [0, 60, 90]), tmp_path / "p.png", "title $")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
