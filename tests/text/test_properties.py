"""Whatever a bank file contains: a valid bank or a clear error. Whatever an embedding file went through: the same."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunetv2_textguided.errors import EmbeddingFileError, PromptBankError, TextGuidedError
from nnunetv2_textguided.settings import ResolvedText, TextSettings
from nnunetv2_textguided.text.bank import MAX_PROMPTS, PromptBank, load_bank, normalise
from nnunetv2_textguided.text.embeddings import read_embeddings, write_embeddings
from nnunetv2_textguided.text.prompt_warnings import check_bank, check_embeddings
from nnunetv2_textguided.text.resolve import FILE_NAME, resolve_text
from tests.text.conftest import random_embeddings

ANY_TEXT = st.text(st.characters(), max_size=30)  # includes half surrogate pairs and control characters
GOOD_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=30).filter(
    normalise
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | ANY_TEXT,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(ANY_TEXT, children, max_size=4),
    max_leaves=12,
)
ENTRY = JSON | GOOD_TEXT | st.lists(GOOD_TEXT | ANY_TEXT, max_size=5)
BANK_LIKE = st.fixed_dictionaries(
    {"labels": st.dictionaries(GOOD_TEXT | ANY_TEXT, ENTRY, max_size=4) | JSON},
    optional={
        "context": ENTRY,
        "templates": JSON | st.lists(st.sampled_from(["{}", "mri of {}", "{} {}", "none"]), max_size=3),
        "name": JSON | GOOD_TEXT,
        "extra": JSON,
    },
)
BANKS = st.builds(
    lambda classes, context: PromptBank("b", {k: tuple(v) for k, v in classes.items()}, tuple(context)),
    st.dictionaries(
        st.text("abcdefgh", min_size=1, max_size=8), st.lists(GOOD_TEXT, min_size=1, max_size=4), min_size=1, max_size=4
    ),
    st.lists(GOOD_TEXT, max_size=4),
)


def is_clear(error: TextGuidedError) -> bool:
    """Whether an error says what and where, in characters that any terminal can be sent."""
    return bool(error.what) and error.where is not None and bool(str(error).encode("utf-8"))


def load_json(content: Any) -> PromptBank | None:
    """The bank of a file with this content; None if it is refused clearly."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode("utf-8", "surrogatepass")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bank.json"
        path.write_bytes(raw)
        try:
            return load_bank(str(path))
        except PromptBankError as error:
            refusal = error
    assert is_clear(refusal)
    return None


@given(JSON | BANK_LIKE)
def test_any_json_is_a_valid_bank_or_a_clear_error(content: Any) -> None:
    bank = load_json(content)
    if bank is not None:
        assert all(normalise(prompt) == prompt != "" for prompt in bank.prompts)
        assert len(bank.prompts) == len(bank.prompt_label)
        assert load_json(bank.to_json()) == PromptBank(bank.name, bank.class_prompts, bank.context_prompts)
        check_bank(bank)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_clear_error(content: bytes) -> None:
    assert load_json(content) is None


@given(st.lists(st.sampled_from(["a", "b", "A", " a"]), min_size=1, max_size=4))
def test_repeated_keys_are_refused_and_similar_ones_never_merge(keys: list[str]) -> None:
    body = ", ".join(f'{json.dumps(key)}: "prompt {i}"' for i, key in enumerate(keys))
    bank = load_json(f'{{"labels": {{{body}}}}}'.encode())
    if len({key.strip().casefold() for key in keys}) < len(keys):
        assert bank is None
    else:
        assert bank is not None
        assert len(bank.labels) == len(keys)


@settings(max_examples=12)
@given(st.integers(1, 2 * MAX_PROMPTS), st.integers(0, 3000))
def test_thousands_of_prompts_and_very_long_ones_are_valid_or_refused(count: int, length: int) -> None:
    prompts = [f"{i} {'x' * length}" for i in range(count)] if count * length < 4_000_000 else ["x" * length] * count
    bank = load_json({"labels": {"a": prompts}})
    assert (bank is not None) == (count <= MAX_PROMPTS and max(len(normalise(p)) for p in prompts) <= 2000)


@given(BANKS, st.data())
def test_hash_changes_exactly_with_labels_words_and_order(bank: PromptBank, data: st.DataObject) -> None:
    spaced = {label: tuple(f" {p}\n\t" for p in prompts) for label, prompts in bank.class_prompts.items()}
    assert PromptBank("other", spaced, bank.context_prompts).sha256 == bank.sha256
    label = data.draw(st.sampled_from(bank.labels))
    changed = {**bank.class_prompts, label: (*bank.class_prompts[label], "one more")}
    assert PromptBank("b", changed, bank.context_prompts).sha256 != bank.sha256
    shuffled = data.draw(st.permutations(bank.labels))
    moved = PromptBank("b", {name: bank.class_prompts[name] for name in shuffled}, bank.context_prompts)
    assert (moved.sha256 == bank.sha256) == (tuple(shuffled) == bank.labels)


@given(BANKS)
def test_any_bank_survives_the_file_and_resolves_to_its_own_rows(bank: PromptBank) -> None:
    with tempfile.TemporaryDirectory() as name:
        before = random_embeddings(bank)
        write_embeddings(Path(name) / FILE_NAME, before)
        after = read_embeddings(Path(name) / FILE_NAME)
        assert after.bank == bank
        np.testing.assert_array_equal(after.pooled, before.pooled)
        check_embeddings(after)
        labels = list(reversed(bank.labels))
        embeddings, resolved = resolve_text(TextSettings(), labels, Path(name), want_tokens=True)
        assert ResolvedText.model_validate(resolved.model_dump()) == resolved
        assert resolved.labels == labels
        rows = dict(zip(bank.prompts, before.pooled, strict=True))
        for prompt, row in zip(resolved.prompts, embeddings.pooled, strict=True):
            np.testing.assert_array_equal(row, rows[prompt])


@given(BANKS, st.data())
def test_any_damage_to_the_file_is_an_error(bank: PromptBank, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / FILE_NAME
        write_embeddings(path, random_embeddings(bank))
        whole = path.read_bytes()
        position, bits = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(1, 255))
        flipped = whole[:position] + bytes([whole[position] ^ bits]) + whole[position + 1 :]
        path.write_bytes(data.draw(st.sampled_from([whole[:position], whole + b"x", flipped])))
        try:
            after = read_embeddings(path)
        except EmbeddingFileError as error:
            refusal: EmbeddingFileError | None = error
        else:
            refusal = None
        if refusal is None:
            # Only the header's padding (spaces after the JSON) may change without a trace.
            assert whole[position : position + 1].isspace()
            assert after.bank == bank
            np.testing.assert_array_equal(after.pooled, random_embeddings(bank).pooled)
        else:
            assert is_clear(refusal)


@given(st.lists(ANY_TEXT, max_size=4))
def test_any_label_names_train_offline_or_are_a_clear_error(labels: list[str]) -> None:
    try:
        embeddings, resolved = resolve_text(TextSettings(), labels, None, want_tokens=False)
    except PromptBankError as error:
        refusal: PromptBankError | None = error
    else:
        refusal = None
        assert resolved.labels == labels
        np.testing.assert_allclose(np.linalg.norm(embeddings.pooled, axis=1), 1, atol=1e-5)
    assert refusal is None or is_clear(refusal)
