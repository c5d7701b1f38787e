"""Another question at prediction: other prompts, other numbers of prompts; never embeddings of another encoder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnunetv2_textguided.errors import EmbeddingFileError
from nnunetv2_textguided.inference.run import Summary
from nnunetv2_textguided.text.bank import PromptBank
from nnunetv2_textguided.text.embeddings import TextEmbeddings, write_embeddings
from nnunetv2_textguided.text.packaged import packaged_embeddings
from tests.inference.conftest import read
from tests.inference.models import Model, make_model

Predict = Callable[..., Summary]


def embedding_file(path: Path, encoder: dict[str, Any], labels: tuple[str, ...] = ("csPCa",)) -> Path:
    """Random unit vectors for one prompt per label and one context prompt."""
    bank = PromptBank("asked", dict.fromkeys(labels, ("something else",)), ("muscle",))
    rows = np.random.default_rng(0).normal(size=(len(bank.prompts), packaged_embeddings().pooled.shape[1]))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    write_embeddings(path, TextEmbeddings(bank, rows.astype(np.float32), provenance={"encoder": encoder}))
    return path


def heatmap(folder: Path) -> np.ndarray:
    return read(folder / "heatmaps" / "csPCa" / "ball_0.nii.gz")


def test_other_embeddings_give_another_heatmap_with_a_warning(
    predict: Predict, model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = model.plans["configurations"]["3d_fullres"]["text_guidance"]["text"]["resolved"]
    file = embedding_file(tmp_path / "asked.safetensors", trained["encoder"])
    assert len(trained["prompts"]) != 2  # another number of prompts than the network was built for
    predict(heatmaps=True, folder=tmp_path / "trained")
    assert "the network was trained with others" not in capsys.readouterr().out
    predict(heatmaps=True, folder=tmp_path / "asked", folds=(0, 1), model_options={"embeddings": file})
    assert "the network was trained with others" in capsys.readouterr().out
    assert np.abs(heatmap(tmp_path / "asked") - heatmap(tmp_path / "trained")).max() > 0.1
    asked = json.loads((tmp_path / "asked" / "predict_from_raw_data_args.json").read_text())
    assert "something else" in asked["warning"]


def test_the_models_own_prompts_change_nothing(predict: Predict, model: Model, tmp_path: Path) -> None:
    predict(heatmaps=True, folder=tmp_path / "trained")
    predict(heatmaps=True, folder=tmp_path / "same", model_options={"prompts": "default"})
    assert np.array_equal(heatmap(tmp_path / "same"), heatmap(tmp_path / "trained"))


def test_a_bank_of_the_packages_own_phrases_needs_no_encoder(predict: Predict, tmp_path: Path) -> None:
    bank = {"name": "asked", "labels": {"csPCa": ["prostate"]}, "context": ["liver"]}
    (tmp_path / "bank.json").write_text(json.dumps(bank))
    predict(heatmaps=True, model_options={"prompts": str(tmp_path / "bank.json")})
    assert heatmap(tmp_path / "out").std() > 0


@pytest.mark.parametrize("change", [{"id": "another model"}, {"revision": "another revision"}])
def test_embeddings_of_another_encoder_are_refused(
    predict: Predict, model: Model, tmp_path: Path, change: dict[str, str]
) -> None:
    trained = model.plans["configurations"]["3d_fullres"]["text_guidance"]["text"]["resolved"]
    file = embedding_file(tmp_path / "asked.safetensors", {**trained["encoder"], **change})
    with pytest.raises(EmbeddingFileError, match="mean nothing to it"):
        predict(model_options={"embeddings": file})
    assert not (tmp_path / "out").exists()


def test_a_file_without_the_models_label_is_refused(predict: Predict, model: Model, tmp_path: Path) -> None:
    trained = model.plans["configurations"]["3d_fullres"]["text_guidance"]["text"]["resolved"]
    file = embedding_file(tmp_path / "asked.safetensors", trained["encoder"], ("kidney",))
    with pytest.raises(EmbeddingFileError, match="csPCa"):
        predict(model_options={"embeddings": file})


def test_a_control_that_never_heard_words_cannot_be_asked(predict: Predict, tmp_path: Path) -> None:
    learned = make_model(tmp_path / "m", folds=1, fixed={"text": {"control": "learned"}})
    with pytest.raises(EmbeddingFileError, match="was trained without words"):
        predict(trained=learned.folder, model_options={"prompts": "default"})
