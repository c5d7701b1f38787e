from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from nnunetv2_textguided.errors import EmbeddingFileError
from nnunetv2_textguided.text import embeddings as module
from nnunetv2_textguided.text.bank import PromptBank
from nnunetv2_textguided.text.embeddings import TextEmbeddings, read_embeddings, write_embeddings
from nnunetv2_textguided.text.sentence_table import SentenceTable, padded

Embed = Callable[..., TextEmbeddings]
BANK = PromptBank("b", {"x": ("one", "zwölf"), "y": ("三",)}, ("rest",))


def test_round_trip_changes_nothing(tmp_path: Path, embed: Embed) -> None:
    before = embed(BANK)
    write_embeddings(tmp_path / "e.safetensors", before)
    after = read_embeddings(tmp_path / "e.safetensors")
    assert after.bank == before.bank
    assert after.provenance == before.provenance
    for name in ("pooled", "tokens", "token_prompt"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))


WORDS = np.array([[1, 0, 0], [0, 1, 0], [0.5, 0.5, 0]], dtype=np.float32)
"""Tokens of two sentences, the first of two. Exact in half precision."""


def test_tables_of_sentences_are_stored_under_the_same_hash(tmp_path: Path, embed: Embed) -> None:
    plain = embed(BANK)
    tables = {
        "phrase": SentenceTable(("left", "right"), plain.pooled[:2]),
        "sentence": SentenceTable(("PI-RADS 5 lesion", "mass"), plain.pooled[2:4], WORDS, np.array([2, 1])),
    }
    path = tmp_path / "e.safetensors"
    write_embeddings(path, replace(plain, tables=tables))
    after = read_embeddings(path)
    assert {role: table.texts for role, table in after.tables.items()} == {r: t.texts for r, t in tables.items()}
    phrases, sentences = after.tables["phrase"], after.tables["sentence"]
    read = phrases.of(["right", "left", "right"], path, tokens=False)
    np.testing.assert_array_equal(read, plain.pooled[[1, 0, 1], None])
    assert phrases.of([], path, tokens=False) == []
    with pytest.raises(EmbeddingFileError, match="1 sentences have no embedding, such as 'up'"):
        phrases.of(["left", "up"], path, tokens=False)
    with pytest.raises(EmbeddingFileError, match="no token embeddings"):
        phrases.of(["left"], path, tokens=True)
    assert (phrases.word_dim, sentences.word_dim) == (0, 3)
    words = sentences.of(["mass", "PI-RADS 5 lesion"], path, tokens=True)
    assert [len(each) for each in words] == [1, 2]
    np.testing.assert_array_equal(padded(words, 3), np.stack([[WORDS[2], np.zeros(3)], WORDS[:2]]))
    np.testing.assert_array_equal(sentences.of(["mass"], path, tokens=False)[0], plain.pooled[3:4])
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"PI-RADS 5", b"PI-RADS 4"))
    with pytest.raises(EmbeddingFileError, match="hash does not match"):
        read_embeddings(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d, t: d["phrase"].append("up"), "3 texts but"),
        (lambda d, t: d.update(phrase=["left", "left"]), "repeats"),
        (lambda d, t: d.pop("phrase"), "incomplete"),
        (lambda d, t: t.update(phrase=np.eye(2, 4, dtype=np.float32)), "2 texts but"),
        (lambda d, t: t.update(phrase=t["phrase"] * 2), "L2-normalised"),
        (lambda d, t: t.update(whatever=t["phrase"]), "Unexpected tensors"),
        (lambda d, t: t.update(phrase_lengths=np.array([2, 2], dtype=np.int32)), "lengths"),
        (lambda d, t: t.update(phrase_lengths=np.array([3, 0], dtype=np.int32)), "lengths"),
        (lambda d, t: t.update(phrase_tokens=t["phrase_tokens"] * np.float16("nan")), "finite"),
        (lambda d, t: t.pop("phrase_lengths"), "belong together"),
    ],
)
def test_tables_that_contradict_their_texts_are_refused(
    tmp_path: Path, embed: Embed, change: Callable[..., None], message: str
) -> None:
    plain, path = embed(BANK), tmp_path / "e.safetensors"
    table = SentenceTable(("left", "right"), plain.pooled[:2], WORDS, np.array([2, 1]))
    write_embeddings(path, replace(plain, tables={"phrase": table}))
    rewrite(path, change)
    with pytest.raises(EmbeddingFileError, match=message):
        read_embeddings(path)


def test_equal_embeddings_give_equal_bytes(tmp_path: Path, embed: Embed) -> None:
    write_embeddings(tmp_path / "a.safetensors", embed(BANK))
    write_embeddings(tmp_path / "b.safetensors", read_embeddings(tmp_path / "a.safetensors"))
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_float16_storage_reads_as_unit_float32(tmp_path: Path, embed: Embed) -> None:
    before = embed(BANK)
    write_embeddings(tmp_path / "e.safetensors", before, dtype=np.float16)
    after = read_embeddings(tmp_path / "e.safetensors")
    assert after.pooled.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(after.pooled, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(after.pooled, before.pooled, atol=1e-3)


def test_any_changed_byte_is_noticed(tmp_path: Path, embed: Embed) -> None:
    path = tmp_path / "e.safetensors"
    write_embeddings(path, embed(BANK))
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    positions = [*range(8), *range(8, header, 7), *range(header, len(whole), 5), len(whole) - 1]
    for position in positions:
        changed = bytearray(whole)
        changed[position] ^= 1
        path.write_bytes(changed)
        if changed[8:header].strip() == whole[8:header].strip() and changed[header:] == whole[header:]:
            continue
        with pytest.raises(EmbeddingFileError):
            read_embeddings(path)


@pytest.mark.parametrize("length", [0, 4, 8, 100, -1])
def test_truncated_file_is_refused(tmp_path: Path, embed: Embed, length: int) -> None:
    path = tmp_path / "e.safetensors"
    write_embeddings(path, embed(BANK))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(EmbeddingFileError, match="damaged"):
        read_embeddings(path)


def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EmbeddingFileError, match="does not exist"):
        read_embeddings(tmp_path / "none.safetensors")
    save_file({"pooled": np.eye(2, dtype=np.float32)}, tmp_path / "foreign.safetensors")
    with pytest.raises(EmbeddingFileError, match="not an embedding file of this package"):
        read_embeddings(tmp_path / "foreign.safetensors")
    save_file({"weight": np.eye(2, dtype=np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(EmbeddingFileError, match="Unexpected tensors: weight"):
        read_embeddings(tmp_path / "model.safetensors")


def rewrite(path: Path, change: Callable[[dict[str, Any], dict[str, np.ndarray]], None]) -> None:
    """Change a file as an editor would who mends the hash afterwards."""
    with safe_open(path, framework="numpy") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (safe_open is no dict)
        document = json.loads(file.metadata()["text_embeddings"])
    change(document, tensors)
    document["content_sha256"] = module._content_sha256(tensors, document)
    save_file(tensors, path, metadata={"text_embeddings": json.dumps(document)})


def test_unknown_format_version_is_refused(tmp_path: Path, embed: Embed) -> None:
    path = tmp_path / "e.safetensors"
    write_embeddings(path, embed(BANK))
    rewrite(path, lambda document, _: document.update(format_version=2))
    with pytest.raises(EmbeddingFileError, match="format version 2"):
        read_embeddings(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d, t: d["bank"]["context"].append("more"), "hash of the prompts"),
        (lambda d, t: d.pop("provenance"), "incomplete"),
        (lambda d, t: d["provenance"]["encoder"].pop("licence"), "encoder's licence"),
        (lambda d, t: d.update(bank=[]), "incomplete"),
        (lambda d, t: t.update(pooled=t["pooled"][:-1]), "4 prompts but 3 rows"),
        (lambda d, t: t.update(pooled=t["pooled"] * 2), "L2-normalised"),
        (lambda d, t: t.update(pooled=t["pooled"] * np.float32("nan")), "L2-normalised and finite"),
        (lambda d, t: t.pop("tokens"), "belong together"),
        (lambda d, t: t.update(token_prompt=t["token_prompt"][::-1].copy()), "ascending"),
        (lambda d, t: t.update(token_prompt=t["token_prompt"] + 1), "every prompt at least once"),
        (lambda d, t: t.update(tokens=t["tokens"] * np.float32("inf")), "not finite"),
        (lambda d, t: t.update(pooled=t["pooled"].astype(np.float64)), "type F64"),
    ],
)
def test_files_that_contradict_themselves_are_refused(
    tmp_path: Path, embed: Embed, change: Callable[..., None], message: str
) -> None:
    path = tmp_path / "e.safetensors"
    write_embeddings(path, embed(BANK))
    rewrite(path, change)
    with pytest.raises(EmbeddingFileError) as error:
        read_embeddings(path)
    assert message in str(error.value)
    assert error.value.where == path


def test_size_is_bounded(tmp_path: Path, embed: Embed, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "e.safetensors"
    write_embeddings(path, embed(BANK))
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    with pytest.raises(EmbeddingFileError, match="more than 100"):
        read_embeddings(path)
    with pytest.raises(EmbeddingFileError, match="--no-tokens"):
        write_embeddings(path, embed(BANK))


def test_selected_rows_take_their_tokens_with_them(embed: Embed) -> None:
    whole = embed(BANK)
    part = whole.select(PromptBank("p", {"y": ("三",)}, ("rest",)), [2, 3])
    np.testing.assert_array_equal(part.pooled, whole.pooled[2:])
    assert part.tokens is not None
    assert whole.tokens is not None
    np.testing.assert_array_equal(part.tokens, whole.tokens[whole.token_prompt >= 2])
    np.testing.assert_array_equal(part.token_prompt, whole.token_prompt[whole.token_prompt >= 2] - 2)
