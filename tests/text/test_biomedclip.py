"""BiomedCLIP from its two repositories: downloaded by the hub's own client, or cached. The model is the tiny one."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from nnunetv2_textguided.errors import EncoderError
from nnunetv2_textguided.text import known
from nnunetv2_textguided.text.encoder_open_clip import (
    BIOMEDBERT_ID,
    BIOMEDBERT_REVISION,
    BIOMEDCLIP_ID,
    BIOMEDCLIP_REVISION,
)
from nnunetv2_textguided.text.encoders import load_encoder
from tests.text.fake_hub import fake_hub
from tests.text.tiny_open_clip import TEXT_NAME, build

pytest.importorskip("huggingface_hub.hf_api", reason="needs the text extra")
pytest.importorskip("huggingface_hub._snapshot_download")
pytest.importorskip("huggingface_hub.file_download")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("biomedclip") / "tiny", pickled=True)


@pytest.fixture
def repositories(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], Path]:
    """The tiny model under the names, revisions and file layout of the real one, and an empty cache."""
    folder = Path(shutil.copytree(original, tmp_path / "tiny"))
    text = Path(shutil.move(folder / TEXT_NAME, tmp_path / "text"))
    digest = known.file_sha256(folder / "open_clip_pytorch_model.bin")
    monkeypatch.setitem(known.BY_WEIGHTS, digest, known.Known(BIOMEDCLIP_ID, BIOMEDCLIP_REVISION, "MIT"))
    _set("HF_HUB_CACHE", str(tmp_path / "cache"), monkeypatch)
    return {(BIOMEDCLIP_ID, BIOMEDCLIP_REVISION): folder, (BIOMEDBERT_ID, BIOMEDBERT_REVISION): text}


def use(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _set("ENDPOINT", endpoint, monkeypatch)
    _set("HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}", monkeypatch)


def _set(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set a constant of the hub's client, of which modules before 1.0 keep copies."""
    for module in [module for key, module in sys.modules.items() if key.startswith("huggingface_hub.")]:
        if name in vars(module):
            monkeypatch.setattr(module, name, value)


def test_both_repositories_are_fetched_once_and_then_found_offline(
    repositories: dict[tuple[str, str], Path], original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_hub(repositories) as endpoint:
        use(endpoint, monkeypatch)
        online = load_encoder("biomedclip")
    assert online.identity["id"] == BIOMEDCLIP_ID
    assert (online.identity["revision"], online.identity["licence"]) == (BIOMEDCLIP_REVISION, "MIT")
    assert online.identity["text_model"] == BIOMEDBERT_ID
    offline = load_encoder("biomedclip")  # the server is gone
    assert offline.identity == online.identity
    expected = load_encoder(f"local:{original}").encode(["prostate lesion"]).pooled
    np.testing.assert_array_equal(offline.encode(["prostate lesion"]).pooled, expected)


def test_repository_that_lacks_a_file_is_named(
    repositories: dict[tuple[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (repositories[BIOMEDBERT_ID, BIOMEDBERT_REVISION] / "vocab.txt").unlink()
    with fake_hub(repositories) as endpoint:
        use(endpoint, monkeypatch)
        with pytest.raises(EncoderError) as error:
            load_encoder("biomedclip")
    assert BIOMEDBERT_ID in str(error.value)
    assert "the repository does not have them. Missing: vocab.txt" in str(error.value)


def test_hub_without_the_repository_is_an_error_with_remedies(
    repositories: dict[tuple[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_hub({}) as endpoint:
        use(endpoint, monkeypatch)
        with pytest.raises(EncoderError, match="the download failed") as error:
            load_encoder("biomedclip")
    assert "--encoder minilm" in str(error.value)
