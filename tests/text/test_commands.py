from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nnunetv2_textguided.cli import main
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.nnunet.labels import read_labels
from nnunetv2_textguided.settings import TextSettings
from nnunetv2_textguided.text.embeddings import read_embeddings
from nnunetv2_textguided.text.encoder_open_clip import (
    BIOMEDBERT_FILES,
    BIOMEDBERT_ID,
    BIOMEDBERT_REVISION,
    BIOMEDCLIP_FILES,
    BIOMEDCLIP_ID,
    BIOMEDCLIP_REVISION,
)
from nnunetv2_textguided.text.encoders import load_encoder
from nnunetv2_textguided.text.hub import PROBE_SECONDS
from nnunetv2_textguided.text.phrases import training_phrases
from nnunetv2_textguided.text.resolve import FILE_NAME, resolve_text
from tests.text.tiny_open_clip import build

DATASET = "Dataset952_Zones"
DESCRIPTION = {
    "channel_names": {"0": "T2W"},
    "labels": {"background": 0, "PZ": 1, "TZ": 2, "csPCa": 3, "ignore": 4},
    "numTraining": 1,
    "file_ending": ".mha",
}
Output = pytest.CaptureFixture[str]


@pytest.fixture
def folders(nnunet_folders: Path) -> Path:
    for kind in ("raw", "preprocessed"):
        (nnunet_folders / kind / DATASET).mkdir()
        (nnunet_folders / kind / DATASET / "dataset.json").write_text(json.dumps(DESCRIPTION))
    return nnunet_folders


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers", reason="needs the text extra")
    return build(tmp_path_factory.mktemp("open_clip") / "tiny")


def test_labels_are_read_as_nnunet_orders_its_heads() -> None:
    assert read_labels({"labels": {"background": 0, "b": 2, "a": 1, "ignore": 3}}).foreground == ("a", "b")
    assert read_labels({"labels": {"background": 0, "whole": [1, 2], "core": 2}}).foreground == ("whole", "core")
    for labels in ({}, {"background": 0}, {"background": 0, "a": "1"}, {"background": 0, "a": []}, []):
        with pytest.raises(DataError):
            read_labels({"labels": labels})


@pytest.mark.parametrize("name", ["952", DATASET])
def test_encode_writes_the_file_that_training_finds(folders: Path, tiny: Path, name: str, capsys: Output) -> None:
    assert main(["encode", "-d", name, "--encoder", f"local:{tiny}"]) == 0
    path = folders / "preprocessed" / DATASET / FILE_NAME
    _, resolved = resolve_text(TextSettings(), ["PZ", "TZ", "csPCa"], path.parent, want_tokens=True)
    assert resolved.source == str(path)
    assert (resolved.encoder["id"], resolved.embedding_dim, resolved.token_dim) == ("local:tiny", 16, 16)
    assert resolved.prompts[0] == "peripheral zone"
    assert f"bank 'zones' and {resolved.num_tokens} tokens" in capsys.readouterr().out
    assert read_embeddings(path).provenance["command"] == f"nnUNetv2_textguided encode -d {name} --encoder local:{tiny}"


def test_encode_works_before_preprocessing_and_without_a_data_set(folders: Path, tiny: Path, tmp_path: Path) -> None:
    (folders / "preprocessed" / DATASET / "dataset.json").unlink()
    (folders / "preprocessed" / DATASET).rmdir()
    assert main(["encode", "-d", "952", "--encoder", f"local:{tiny}", "--no-tokens"]) == 0
    own = read_embeddings(folders / "preprocessed" / DATASET / FILE_NAME)
    assert own.tokens is None
    elsewhere = tmp_path / "elsewhere.safetensors"
    assert main(["encode", "--labels", "PZ", "TZ", "csPCa", "--encoder", f"local:{tiny}", "-o", str(elsewhere)]) == 0
    assert read_embeddings(elsewhere).bank.sha256 == own.bank.sha256


def test_encode_uses_the_bank_that_is_asked_for(folders: Path, tiny: Path, tmp_path: Path, capsys: Output) -> None:
    bank = tmp_path / "mine.json"
    bank.write_text(json.dumps({"labels": {"csPCa": "no lesion"}, "templates": ["{}", "mri of {}"]}))
    assert main(["encode", "-d", "952", "--encoder", f"local:{tiny}", "--prompts", str(bank)]) == 0
    stored = read_embeddings(folders / "preprocessed" / DATASET / FILE_NAME).bank
    assert stored.class_prompts == {"PZ": ("PZ",), "TZ": ("TZ",), "csPCa": ("no lesion", "mri of no lesion")}
    assert "warning (negation): 'no lesion' (csPCa)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-d", "77"], "There is no data set 77."),
        (["-d", "Dataset077_None"], "There is no data set 'Dataset077_None'."),
        (["-d", "952", "--encoder", "gpt"], "Use one of biomedclip, minilm, local:DIR"),
        (["-d", "952", "--encoder", "minilm", "--prompts", "none.json"], "does not exist"),
    ],
)
def test_encode_says_what_is_wrong(folders: Path, arguments: list[str], message: str, capsys: Output) -> None:
    assert main(["encode", *arguments]) == 1
    assert message in capsys.readouterr().err


def with_case_text(folders: Path, texts: dict[str, object], *, zones: bool = False) -> Path:
    """The data set with two training cases, case text, and, if asked for, zones."""
    raw = folders / "raw" / DATASET
    for case in ("A", "B"):
        (raw / "labelsTr").mkdir(exist_ok=True)
        (raw / "labelsTr" / f"{case}.mha").touch()
    (raw / "case_text.json").write_text(json.dumps(texts))
    if zones:
        names = {"labels": {"background": 0, "csPCa": 1}, "anatomy": {"peripheral zone": 1, "transition zone": 2}}
        for kind in ("raw", "preprocessed"):
            (folders / kind / DATASET / "dataset.json").write_text(json.dumps({**DESCRIPTION, **names}))
    return raw / "case_text.json"


def test_encode_embeds_the_sentences_of_the_cases_and_the_phrases_of_places(
    folders: Path, tiny: Path, capsys: Output
) -> None:
    findings = ["PI-RADS 4 lesion", "PI-RADS 5 lesion"]
    facts = {"age_years": 70}
    path = with_case_text(
        folders, {"A": {"findings": findings, "clinical": facts}, "B": {"findings": findings[:1]}}, zones=True
    )
    assert main(["encode", "-d", "952", "--encoder", f"local:{tiny}"]) == 0
    stored = read_embeddings(folders / "preprocessed" / DATASET / FILE_NAME)
    assert stored.tables["sentence"].texts == tuple(findings)
    assert stored.tables["phrase"].texts == tuple(phrase.text for phrase in training_phrases())
    direct = load_encoder(f"local:{tiny}").encode(findings).pooled
    np.testing.assert_allclose(stored.tables["sentence"].pooled, direct, atol=1e-5)
    out = capsys.readouterr().out
    assert f"case text: 2 cases with text (2 with sentences, 1 with clinical facts, 1 with both) ({path})" in out
    assert stored.tables["phrase"].word_dim == stored.tables["sentence"].word_dim > 0
    # Training finds its prompts in the same file as before.
    where = folders / "preprocessed" / DATASET
    resolve_text(TextSettings(), ["csPCa"], where, want_tokens=True)

    def word_dim(*, read: bool) -> int:
        return resolve_text(TextSettings(), ["csPCa"], where, want_tokens=False, want_words=read)[1].word_dim

    assert word_dim(read=True) == stored.tables["phrase"].word_dim
    assert word_dim(read=False) == 0
    assert main(["encode", "-d", "952", "--encoder", f"local:{tiny}", "--no-tokens"]) == 0
    assert {table.word_dim for table in read_embeddings(where / FILE_NAME).tables.values()} == {0}
    assert word_dim(read=True) == 0


def test_encode_without_case_text_and_zones_writes_prompts_alone(folders: Path, tiny: Path) -> None:
    assert main(["encode", "-d", "952", "--encoder", f"local:{tiny}"]) == 0
    assert read_embeddings(folders / "preprocessed" / DATASET / FILE_NAME).tables == {}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"A": {"findings": ["lesion"]}, "C": {}}, "1 cases are not in the data set: C"),
        ({"A": {}, "B": {"findings": ["short", "lesion of the prostate " * 60]}}, "case_text.json, case B: lesion of"),
        ({"A": {"finding": []}}, "Did you mean 'findings'?"),
    ],
)
def test_encode_names_file_case_and_remedy_of_bad_case_text(
    folders: Path, tiny: Path, texts: dict[str, object], message: str, capsys: Output
) -> None:
    with_case_text(folders, texts)
    assert main(["encode", "-d", "952", "--encoder", f"local:{tiny}"]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "case_text.json" in error
    assert not (folders / "preprocessed" / DATASET / FILE_NAME).exists()


class SilentHub:
    """A hub that accepts connections and never answers: the slowest way of being unreachable."""

    def __init__(self, server: socket.socket) -> None:
        self.server, self.visitors = server, []
        self.endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                self.visitors.append(self.server.accept())


@pytest.fixture
def silent_hub() -> Iterator[SilentHub]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield SilentHub(server)


def encode_with_hub(home: Path, endpoint: str, **environment: str) -> str:
    """Standard error of `encode --encoder biomedclip` as a user runs it."""
    variables = {**os.environ, "HF_HOME": str(home), "HF_ENDPOINT": endpoint, **environment}
    target = str(home / "x.safetensors")
    done = subprocess.run(
        [sys.executable, "-m", "nnunetv2_textguided.cli", "encode", "--labels", "csPCa", "-o", target],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def fill_cache(home: Path, repository: str, revision: str, files: tuple[str, ...]) -> None:
    """A cached snapshot of a hub repository (the files' content does not matter here)."""
    folder = home / "hub" / f"models--{repository.replace('/', '--')}" / "snapshots" / revision
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).write_text("{}")


def test_unreachable_hub_fails_within_seconds_with_the_remedies(silent_hub: SilentHub, tmp_path: Path) -> None:
    error = encode_with_hub(tmp_path, silent_hub.endpoint)
    # Counted, not timed, since the machine may be busy: one visit, which is given up after seconds, and no retries.
    assert len(silent_hub.visitors) == 1
    assert PROBE_SECONDS <= 5
    assert BIOMEDCLIP_ID in error
    for remedy in ("copy the embedding file", "hf download", "--encoder minilm"):
        assert remedy in error


def test_half_filled_cache_names_the_missing_repository(tmp_path: Path) -> None:
    fill_cache(tmp_path, BIOMEDCLIP_ID, BIOMEDCLIP_REVISION, BIOMEDCLIP_FILES)
    error = encode_with_hub(tmp_path, "http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    assert f"The repository {BIOMEDBERT_ID}" in error
    assert BIOMEDCLIP_ID not in error
    assert "HF_HUB_OFFLINE is set" in error
    fill_cache(tmp_path, BIOMEDBERT_ID, BIOMEDBERT_REVISION, BIOMEDBERT_FILES[:-1])
    error = encode_with_hub(tmp_path, "http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    assert "Missing: vocab.txt" in error


def test_cached_files_that_are_not_biomedclip_are_refused(tmp_path: Path) -> None:
    fill_cache(tmp_path, BIOMEDCLIP_ID, BIOMEDCLIP_REVISION, BIOMEDCLIP_FILES)
    fill_cache(tmp_path, BIOMEDBERT_ID, BIOMEDBERT_REVISION, BIOMEDBERT_FILES)
    error = encode_with_hub(tmp_path, "http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    assert f"is not the file of {BIOMEDCLIP_ID}" in error


def test_prompts_show_prints_a_bank_and_writes_it_and_its_picture(tmp_path: Path, capsys: Output) -> None:
    bank, picture = tmp_path / "bank.json", tmp_path / "cosines.png"
    assert main(["prompts", "show", "default", "-o", str(bank), "--picture", str(picture)]) == 0
    shown = capsys.readouterr().out
    assert "clinically significant prostate cancer" in shown
    assert "general-domain" in shown
    assert "cosine x 100" in shown
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["prompts", "compare", "default", str(bank)]) == 0


def test_prompts_show_makes_a_generic_bank_of_any_dataset_json(folders: Path, capsys: Output) -> None:
    path = folders / "raw" / DATASET / "dataset.json"
    for source in (str(path), "952"):
        assert main(["prompts", "show", source, "--prompts", "generic"]) == 0
        shown = capsys.readouterr().out
        assert "label TZ\n    1  TZ" in shown
        assert "surrounding normal tissue" in shown


def test_prompts_of_plans_follow_their_settings(folders: Path, capsys: Output) -> None:
    plans = folders / "preprocessed" / DATASET / "nnUNetPlans.json"
    block = {"text": {"prompts": "paper"}}
    child = {"inherits_from": "3d_fullres"}
    configurations = {
        "2d": {},
        "3d_fullres": {"text_guidance": block},
        "child": child,
        "loop": {"inherits_from": "loop"},
    }
    plans.write_text(json.dumps({"configurations": configurations}))
    for choice in ([], ["-c", "child"]):
        assert main(["prompts", "show", str(plans), *choice]) == 0
        assert "bank 'paper'" in capsys.readouterr().out
    assert main(["prompts", "show", str(plans), "-c", "loop"]) == 0
    assert "bank 'zones'" in capsys.readouterr().out
    assert main(["prompts", "show", str(plans), "-c", "2d"]) == 0
    assert "bank 'zones'" in capsys.readouterr().out
    assert main(["prompts", "show", str(plans), "-c", "3d_lowres"]) == 1
    assert "no configuration '3d_lowres'" in capsys.readouterr().err


def test_prompts_validate_warns_and_says_how_far_it_looked(tmp_path: Path, capsys: Output) -> None:
    bank = tmp_path / "bank.json"
    bank.write_text(json.dumps({"labels": {"x": ["no cyst", "cyst"]}, "context": ["cyst"]}))
    assert main(["prompts", "validate", str(bank)]) == 0
    shown = capsys.readouterr().out
    assert "warning (negation)" in shown
    assert "warning (duplicate)" in shown
    assert "wording only" in shown


def test_prompts_compare_names_prompts_and_encoder(folders: Path, tiny: Path, capsys: Output) -> None:
    assert main(["encode", "-d", "952", "--encoder", f"local:{tiny}"]) == 0
    path = str(folders / "preprocessed" / DATASET / FILE_NAME)
    capsys.readouterr()
    assert main(["prompts", "compare", path, "952"]) == 0
    assert main(["prompts", "compare", path, "zones"]) == 3
    shown = capsys.readouterr().out
    assert "labels ['PZ', 'TZ', 'csPCa'] -> ['peripheral_zone'," in shown
    assert "encoder id: local:tiny -> sentence-transformers/all-MiniLM-L6-v2" in shown


def test_unknown_source_is_an_error(folders: Path, capsys: Output) -> None:
    for source in ("nothing", "nothing.json", "nothing.safetensors", "nothing.pth", str(folders / "raw")):
        assert main(["prompts", "show", source]) == 1
        assert capsys.readouterr().err.startswith("error: ")
