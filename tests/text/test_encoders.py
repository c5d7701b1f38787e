from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nnunetv2_textguided.errors import EncoderError
from nnunetv2_textguided.text import known
from nnunetv2_textguided.text.encoder_transformers import TransformersEncoder
from nnunetv2_textguided.text.encoders import load_encoder
from nnunetv2_textguided.text.hub import unreachable
from nnunetv2_textguided.text.known import identify
from tests.text.tiny_open_clip import VOCABULARY, build

pytest.importorskip("transformers", reason="needs the text extra")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT in transformers' own format."""
    import torch
    from transformers import AutoModel, BertConfig

    folder = tmp_path_factory.mktemp("transformers") / "tiny"
    build(folder / "unused", text_folder=folder)
    shutil.rmtree(folder / "unused")
    torch.manual_seed(0)
    AutoModel.from_config(BertConfig.from_pretrained(folder)).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "tiny"))


def set_pooling(folder: Path, **modes: bool) -> None:
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(modes))


def test_local_transformers_folder_gives_unit_embeddings_with_padding_masked(folder: Path) -> None:
    encoder = load_encoder(f"local:{folder}")
    alone, together = encoder.encode(["lesion"]), encoder.encode(["lesion", "normal zone of the prostate"])
    np.testing.assert_allclose(together.pooled[0], alone.pooled[0], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together.pooled, axis=1), 1, atol=1e-5)
    assert alone.tokens.shape == (3, 32)
    assert encoder.identity["id"] == "local:tiny"


def test_pooling_of_sentence_transformers_is_obeyed(folder: Path) -> None:
    mean = load_encoder(f"local:{folder}").encode(["prostate lesion"])
    set_pooling(folder, pooling_mode_cls_token=True, pooling_mode_mean_tokens=False)
    first = load_encoder(f"local:{folder}")
    encoded = first.encode(["prostate lesion"])
    np.testing.assert_allclose(encoded.pooled[0], encoded.tokens[0], atol=1e-5)
    assert not np.allclose(encoded.pooled, mean.pooled)
    assert first.identity["pooling"].startswith("first token")


def test_unknown_pooling_is_refused(folder: Path) -> None:
    set_pooling(folder, pooling_mode_max_tokens=True)
    with pytest.raises(EncoderError, match="max_tokens"):
        load_encoder(f"local:{folder}")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "has no model.safetensors"),
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "only there as pickles"),
        (lambda f: (f / "model.safetensors").write_bytes(b"x" * 100), "cannot be loaded"),
        (lambda f: (f / "vocab.txt").unlink(), "has no tokenizer.json or vocab.txt"),
        (lambda f: (f / "vocab.txt").write_text("\n".join(VOCABULARY[:5])), "knows 5 tokens"),
        (lambda f: (f / "config.json").write_text("[]"), "must be a JSON object"),
        (lambda f: (f / "config.json").write_text("{}"), "no vocab_size"),
        (lambda f: (f / "config.json").unlink(), "holds no model"),
    ],
)
def test_incomplete_folders_are_refused(folder: Path, damage: object, message: str) -> None:
    damage(folder)  # type: ignore[operator]
    with pytest.raises(EncoderError) as error:
        load_encoder(f"local:{folder}")
    assert message in str(error.value)


def test_weights_that_leave_layers_random_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(EncoderError, match="do not fit the model: they lack"):
        load_encoder(f"local:{folder}")


@pytest.mark.parametrize("kind", ["own", "bert"])
@pytest.mark.parametrize("part", ["AutoModel", "AutoTokenizer"])
def test_code_in_the_folder_is_neither_executed_nor_offered(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, part: str
) -> None:
    marker = tmp_path / "executed"
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass Config: pass\nclass Model: pass\n")
    auto_map = {"AutoConfig": "evil.Config", part: "evil.Model"}
    for name in ("config.json", "tokenizer_config.json"):
        content = json.loads((folder / name).read_text()) if (folder / name).is_file() else {}
        extra = {"model_type": "evil"} if kind == "own" and name == "config.json" else {}
        (folder / name).write_text(json.dumps({**content, **extra, "auto_map": auto_map}))
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    if kind == "own":
        with pytest.raises(EncoderError):
            load_encoder(f"local:{folder}")
    else:
        load_encoder(f"local:{folder}")
    assert not marker.exists()


def test_unknown_encoder_names_those_there_are() -> None:
    with pytest.raises(EncoderError, match="biomedclip, minilm, local:DIR"):
        load_encoder("bimedclip")
    with pytest.raises(EncoderError, match="does not exist"):
        load_encoder("local:/nowhere/at/all")


def test_known_weights_keep_their_name_in_any_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, minilm_encoder: TransformersEncoder
) -> None:
    assert minilm_encoder.identity["licence"] == "Apache-2.0"
    digest = known.file_sha256(folder / "model.safetensors")
    monkeypatch.setitem(known.BY_WEIGHTS, digest, known.Known("org/model", "abc", "MIT"))
    assert identify(folder, ("model.safetensors",))["model_id"] == "org/model"
    assert load_encoder(f"local:{folder}").identity["revision"] == "abc"
    with pytest.raises(EncoderError, match="not the file of org/other"):
        identify(folder, ("model.safetensors",), expect="org/other")


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_silent_and_closed_hubs_are_noticed_at_once(silent_server: str) -> None:
    start = time.monotonic()
    assert "did not answer within 0.5 s" in (unreachable(silent_server, seconds=0.5) or "")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert "cannot be reached" in (unreachable(f"http://127.0.0.1:{port}", seconds=0.5) or "")
    assert time.monotonic() - start < 30, "two attempts of half a second, on a machine that may be busy"
