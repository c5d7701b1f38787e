from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from nnunetv2_textguided.errors import EncoderError
from nnunetv2_textguided.text.embeddings import ENCODER_KEYS
from nnunetv2_textguided.text.encoder_open_clip import OpenClipEncoder
from nnunetv2_textguided.text.encoders import load_encoder
from tests.text.tiny_open_clip import CONTEXT, TEXT_NAME, VOCABULARY, build

pytest.importorskip("transformers", reason="needs the text extra")
PROMPTS = ["prostate lesion", "normal zone of the prostate", "a &amp; b"]
WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("open_clip") / "tiny")


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "tiny"))


def load(folder: Path) -> OpenClipEncoder:
    encoder = load_encoder(f"local:{folder}")
    assert isinstance(encoder, OpenClipEncoder)
    return encoder


def test_embeddings_equal_those_of_the_whole_open_clip_model(original: Path, tmp_path: Path) -> None:
    import open_clip

    # open_clip itself needs the text model's files in the same folder, and its hub id replaced by that folder.
    folder = Path(shutil.copytree(original, tmp_path / "whole"))
    for file in (folder / TEXT_NAME).iterdir():
        shutil.copy(file, folder)
    text_cfg = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]["text_cfg"]
    text_cfg = {**text_cfg, "hf_model_name": str(folder), "hf_model_pretrained": False}
    whole = open_clip.create_model(f"local-dir:{folder}", text_cfg=text_cfg, require_pretrained=True).eval()
    with torch.inference_mode():
        expected = whole.encode_text(open_clip.get_tokenizer(f"local-dir:{folder}")(PROMPTS), normalize=True)
    np.testing.assert_allclose(load(original).encode(PROMPTS).pooled, expected.numpy(), atol=1e-5)


def test_padding_is_masked_and_tokens_are_in_the_joint_space(original: Path) -> None:
    encoder = load(original)
    alone, together = encoder.encode(PROMPTS[:1]), encoder.encode(PROMPTS)
    np.testing.assert_allclose(together.pooled[0], alone.pooled[0], atol=1e-5)
    np.testing.assert_allclose(together.tokens[together.token_prompt == 0], alone.tokens, atol=1e-5)
    assert alone.tokens.shape == (4, 16)  # [CLS] prostate lesion [SEP], no padding
    np.testing.assert_allclose(alone.tokens[0], alone.pooled[0], atol=1e-5)  # this pooler takes [CLS]
    np.testing.assert_allclose(np.linalg.norm(together.tokens, axis=1), 1, atol=1e-5)


def test_only_the_text_tower_is_built(original: Path) -> None:
    encoder = load(original)
    assert type(encoder._model).__name__ == "HFTextEncoder"
    whole = sum(t.numel() for t in load_file(original / WEIGHTS).values())
    assert sum(p.numel() for p in encoder._model.parameters()) < whole


def test_identity_is_complete_and_follows_the_weights(folder: Path) -> None:
    before = load(folder).identity
    assert set(ENCODER_KEYS) <= set(before)
    assert set(before["sha256"]) >= {"open_clip_config.json", WEIGHTS, "config.json", "vocab.txt"}
    state = load_file(folder / WEIGHTS)
    state["text.proj.0.weight"] += 1
    save_file(state, folder / WEIGHTS)
    after = load(folder).identity
    assert after["revision"] != before["revision"]
    assert after["sha256"] != before["sha256"]


def test_pickled_weights_are_read_as_tensors_only(original: Path, tmp_path: Path) -> None:
    pickled = build(tmp_path / "pickled", pickled=True)
    np.testing.assert_array_equal(load(pickled).encode(PROMPTS).pooled, load(original).encode(PROMPTS).pooled)
    marker = tmp_path / "executed"

    class Attack:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(marker),)

    torch.save({"text.x": Attack()}, pickled / "open_clip_pytorch_model.bin")
    with pytest.raises(EncoderError, match="cannot be read"):
        load(pickled)
    assert not marker.exists()


@pytest.mark.parametrize("place", ["inside", "beside", "same"])
def test_text_models_files_are_found_where_people_put_them(original: Path, tmp_path: Path, place: str) -> None:
    places = {"inside": tmp_path / "m" / TEXT_NAME, "beside": tmp_path / TEXT_NAME, "same": tmp_path / "m"}
    folder = build(tmp_path / "m", text_folder=places[place])
    np.testing.assert_array_equal(load(folder).encode(PROMPTS).pooled, load(original).encode(PROMPTS).pooled)


def test_fast_tokenizer_file_serves_as_well_as_a_vocabulary(folder: Path, original: Path) -> None:
    from transformers import AutoTokenizer

    text = folder / TEXT_NAME
    AutoTokenizer.from_pretrained(str(text)).save_pretrained(text)
    (text / "vocab.txt").unlink(missing_ok=True)
    np.testing.assert_array_equal(load(folder).encode(PROMPTS).pooled, load(original).encode(PROMPTS).pooled)


def edit_json(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text())
    target = content["model_cfg"]["text_cfg"] if "model_cfg" in content else content
    target.update(changes)
    path.write_text(json.dumps(content))


def edit_weights(folder: Path, **changes: torch.Tensor | None) -> None:
    state = load_file(folder / WEIGHTS)
    for key, value in changes.items():
        key = key.replace("__", ".")
        if value is None:
            del state[key]
        else:
            state[key] = value
    save_file(state, folder / WEIGHTS)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / WEIGHTS).unlink(), "has no open_clip_model.safetensors"),
        (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-1000]), "cannot be read"),
        (lambda f: edit_weights(f, text__proj__0__weight=None), "lack 1 tensors"),
        (lambda f: edit_weights(f, text__proj__0__weight=torch.zeros(3, 3)), "lack 1 tensors"),
        (lambda f: edit_weights(f, text__other__weight=torch.zeros(1)), "have 1 unknown tensors"),
        (lambda f: shutil.rmtree(f / TEXT_NAME), f"hf download microsoft/{TEXT_NAME}"),
        (lambda f: (f / TEXT_NAME / "vocab.txt").unlink(), f"hf download microsoft/{TEXT_NAME}"),
        (
            lambda f: (f / TEXT_NAME / "vocab.txt").write_text("\n".join(VOCABULARY[:5])),
            f"knows 5 tokens, but the model's config says {len(VOCABULARY)}",
        ),
        (lambda f: edit_json(f / "open_clip_config.json", context_length=None), "context length is None"),
        (lambda f: edit_json(f / "open_clip_config.json", context_length=777), "context length is 777"),
        (lambda f: edit_json(f / "open_clip_config.json", hf_model_name=None), "Hugging Face text tower"),
        (lambda f: edit_json(f / "open_clip_config.json", hf_pooler_type="new_pooler"), "cannot be built"),
        (lambda f: edit_json(f / TEXT_NAME / "config.json", hidden_size=64), "lack"),
        (lambda f: (f / "open_clip_config.json").write_text("{"), "not valid JSON"),
        (lambda f: (f / "open_clip_config.json").unlink(), "holds no model"),
    ],
)
def test_incomplete_or_foreign_folders_are_refused(folder: Path, damage: object, message: str) -> None:
    damage(folder)  # type: ignore[operator]
    with pytest.raises(EncoderError) as error:
        load(folder)
    assert message in str(error.value)


def test_prompt_longer_than_the_context_is_refused(original: Path) -> None:
    with pytest.raises(EncoderError, match=f"reads {CONTEXT}"):
        load(original).encode(["prostate " * CONTEXT])
