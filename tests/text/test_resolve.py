from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nnunetv2_textguided.errors import EmbeddingFileError, PromptBankError
from nnunetv2_textguided.files import file_sha256
from nnunetv2_textguided.settings import TextSettings
from nnunetv2_textguided.text.bank import PromptBank, bank_names, load_bank
from nnunetv2_textguided.text.embeddings import TextEmbeddings, write_embeddings
from nnunetv2_textguided.text.packaged import packaged_embeddings, packaged_rows
from nnunetv2_textguided.text.resolve import FILE_NAME, resolve_text

Embed = Callable[..., TextEmbeddings]
BANK = PromptBank("mine", {"x": ("one", "two"), "y": ("three",)}, ("rest",))


@pytest.fixture
def dataset(tmp_path: Path, embed: Embed) -> Path:
    write_embeddings(tmp_path / FILE_NAME, embed(BANK))
    return tmp_path


@pytest.mark.parametrize("bank", [*bank_names(), None])
def test_every_shipped_bank_works_offline(bank: str | None) -> None:
    labels = list(load_bank(bank).labels) if bank not in (None, "generic") else ["csPCa"]
    embeddings, resolved = resolve_text(TextSettings(prompts=bank), labels, None, want_tokens=False)
    assert resolved.labels == labels
    assert resolved.encoder["id"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert "not_language_embeddings" not in resolved.encoder
    assert "general-domain" in resolved.source
    assert embeddings.pooled.shape == (len(resolved.prompts), resolved.embedding_dim) == (len(resolved.prompts), 384)


def test_packaged_rows_are_those_of_their_prompts() -> None:
    embeddings, _ = resolve_text(TextSettings(prompts="zones"), ["csPCa", "PZ"], None, want_tokens=False)
    row = packaged_rows()["urinary bladder"]
    at = embeddings.bank.prompts.index("urinary bladder")
    np.testing.assert_array_equal(embeddings.pooled[at], packaged_embeddings().pooled[row])


def test_common_labels_have_real_embeddings_and_unknown_ones_a_flagged_code(caplog: pytest.LogCaptureFixture) -> None:
    _, known = resolve_text(TextSettings(), ["Left_Kidney", "spleen"], None, want_tokens=False)
    assert "not_language_embeddings" not in known.encoder
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    first, resolved = resolve_text(TextSettings(), ["spleen", "widget", "gizmo"], None, want_tokens=False)
    assert resolved.encoder["not_language_embeddings"] == ["widget", "gizmo"]
    assert "NO meaning" in caplog.text
    again, _ = resolve_text(TextSettings(), ["gizmo", "Widget"], None, want_tokens=False)
    np.testing.assert_array_equal(first.pooled[1:3], again.pooled[1::-1])
    assert abs(float(first.pooled[1] @ first.pooled[2])) < 0.5


def test_a_users_prompts_are_never_replaced_by_codes(tmp_path: Path) -> None:
    path = tmp_path / "bank.json"
    path.write_text(json.dumps({"labels": {"csPCa": "a prompt nobody has embedded"}}))
    with pytest.raises(EmbeddingFileError, match="encode"):
        resolve_text(TextSettings(prompts=str(path)), ["csPCa"], None, want_tokens=False)


def test_data_sets_own_file_wins_over_the_package(dataset: Path) -> None:
    _, resolved = resolve_text(TextSettings(), ["y", "x"], dataset, want_tokens=False)
    assert resolved.source == str(dataset / FILE_NAME)
    assert resolved.file_sha256 == file_sha256(dataset / FILE_NAME)
    assert resolved.encoder["id"] == "test/random"
    assert resolved.num_tokens == 0


def test_file_named_in_the_settings_wins_over_the_data_sets(dataset: Path, tmp_path: Path, embed: Embed) -> None:
    named = tmp_path / "named.safetensors"
    write_embeddings(named, embed(PromptBank("named", {"x": ("other",)}, ())))
    _, resolved = resolve_text(TextSettings(embeddings=str(named)), ["x"], dataset, want_tokens=False)
    assert resolved.prompts == ["other"]


def test_rows_follow_the_data_sets_label_order(dataset: Path, embed: Embed) -> None:
    whole = embed(BANK)
    embeddings, resolved = resolve_text(TextSettings(), ["Y", "x"], dataset, want_tokens=True)
    assert resolved.prompts == ["three", "one", "two", "rest"]
    assert resolved.prompt_label == [0, 1, 1, -1]
    np.testing.assert_array_equal(embeddings.pooled, whole.pooled[[2, 0, 1, 3]])
    assert embeddings.tokens is not None
    assert embeddings.tokens.shape == (resolved.num_tokens, resolved.token_dim) == whole.tokens.shape  # type: ignore[union-attr]
    only, _ = resolve_text(TextSettings(), ["x"], dataset, want_tokens=False)
    assert only.bank.prompts == ("one", "two", "rest")


def test_missing_named_file_missing_label_and_missing_tokens_are_errors(dataset: Path, embed: Embed) -> None:
    with pytest.raises(EmbeddingFileError, match="does not exist"):
        resolve_text(TextSettings(embeddings=str(dataset / "no.safetensors")), ["x"], dataset, want_tokens=False)
    with pytest.raises(EmbeddingFileError, match="no prompts for the label z; it knows x, y"):
        resolve_text(TextSettings(), ["x", "z"], dataset, want_tokens=False)
    pooled_only = embed(BANK)
    write_embeddings(dataset / FILE_NAME, TextEmbeddings(BANK, pooled_only.pooled, provenance=pooled_only.provenance))
    with pytest.raises(EmbeddingFileError, match="per-token"):
        resolve_text(TextSettings(), ["x"], dataset, want_tokens=True)
    with pytest.raises(EmbeddingFileError, match="per-token"):
        resolve_text(TextSettings(), ["csPCa"], None, want_tokens=True)


def write_bank(path: Path, x: list[str], context: list[str]) -> TextSettings:
    path.write_text(json.dumps({"labels": {"x": x, "y": ["three"]}, "context": context}))
    return TextSettings(prompts=str(path))


def test_stale_file_is_refused_and_the_difference_named(dataset: Path) -> None:
    path = dataset / "bank.json"
    fresh = write_bank(path, [" one", "two  "], ["rest\n"])
    resolve_text(fresh, ["x", "y"], dataset, want_tokens=False)  # whitespace only: fresh
    for x, context, difference in [
        (["two", "one"], ["rest"], "prompts of x: in another order"),
        (["one", "2"], ["rest"], "with ['2']"),
        (["one", "two"], [], "context prompts: without ['rest']"),
    ]:
        with pytest.raises(EmbeddingFileError) as error:
            resolve_text(write_bank(path, x, context), ["x", "y"], dataset, want_tokens=False)
        assert difference in str(error.value)
        assert "encode" in str(error.value)


def test_continuing_with_the_same_text_is_allowed_and_with_another_refused(dataset: Path, embed: Embed) -> None:
    embeddings, before = resolve_text(TextSettings(), ["x", "y"], dataset, want_tokens=False)
    settings = TextSettings(resolved=before)
    _, again = resolve_text(settings, ["x", "y"], dataset, want_tokens=False)
    assert again == before

    def refused(difference: str, labels: list[str] | None = None) -> None:
        with pytest.raises(EmbeddingFileError) as error:
            resolve_text(settings, labels or ["x", "y"], dataset, want_tokens=False)
        assert difference in str(error.value)

    refused("labels ['x', 'y'] -> ['y', 'x']", ["y", "x"])
    bank = PromptBank("mine", {"x": ("one", "zwei"), "y": ("three",)}, ("rest",))
    write_embeddings(dataset / FILE_NAME, embed(bank))
    refused("prompts of x: without ['two']; prompts of x: with ['zwei']")
    for key, value in (("id", "another"), ("revision", "2"), ("sha256", {"model.safetensors": "01"})):
        identity = {**embeddings.encoder, key: value}
        write_embeddings(dataset / FILE_NAME, embed(BANK, identity=identity))
        refused(f"encoder {key}: ")
    (dataset / FILE_NAME).unlink()
    with pytest.raises(EmbeddingFileError, match="all-MiniLM"):
        resolve_text(settings, ["x", "y"], dataset, want_tokens=False)


def test_label_that_cannot_be_a_prompt_is_an_error() -> None:
    with pytest.raises(PromptBankError, match="empty"):
        resolve_text(TextSettings(), ["  "], None, want_tokens=False)
