"""Whatever a file says: it works, or ends in an error that says what, where and what to do. Nothing is executed."""

from __future__ import annotations

import json
import os
import struct
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from nnunetv2_textguided.errors import EmbeddingFileError, NetworkError, PromptBankError, SettingsError, TextGuidedError
from nnunetv2_textguided.files import read_json
from nnunetv2_textguided.inference.inspection.render import render, to_json
from nnunetv2_textguided.inference.inspection.report import inspect_model
from nnunetv2_textguided.network.from_plans import build_from_architecture
from nnunetv2_textguided.nnunet.splits import check_folds
from nnunetv2_textguided.settings.presets import resolve
from nnunetv2_textguided.text.bank import PromptBank, load_bank
from nnunetv2_textguided.text.embeddings import _content_sha256, read_embeddings, write_embeddings
from nnunetv2_textguided.text.source import open_source
from nnunetv2_textguided.training.consistency import check_continuation, check_model_folder, describe_network
from nnunetv2_textguided.training.continuation import _LOGGED
from nnunetv2_textguided.training.plans import describe_training
from tests.networks import architecture, block, network
from tests.reliability.mutations import DEEP, JUNK, TEXT, assert_clear, mutated
from tests.text.conftest import IDENTITY, random_embeddings
from tests.text.models import needs_safe_loading

CONFIGURATION = {
    "data_identifier": "nnUNetPlans_3d_fullres",
    "preprocessor_name": "DefaultPreprocessor",
    "batch_size": 2,
    "patch_size": [4, 16, 16],
    "median_image_size_in_voxels": [4, 16, 16],
    "spacing": [3.0, 0.5, 0.5],
    "normalization_schemes": ["ZScoreNormalization"],
    "use_mask_for_norm": [False],
    "batch_dice": False,
    "architecture": architecture(features=(4, 4)),
    "text_guidance": {"refiner": {"tau": 0.4}},
}
PLANS = {
    "dataset_name": "Dataset901_Tiny",
    "plans_name": "nnUNetPlans",
    "transpose_forward": [0, 1, 2],
    "transpose_backward": [0, 1, 2],
    "image_reader_writer": "SimpleITKIO",
    "label_manager": "LabelManager",
    "foreground_intensity_properties_per_channel": {"0": {"mean": 0.0, "std": 1.0}},
    "configurations": {"3d_fullres": CONFIGURATION, "own": {"inherits_from": "3d_fullres", "batch_size": 3}},
}
DATASET = {"channel_names": {"0": "T2W"}, "labels": {"background": 0, "csPCa": 1}, "file_ending": ".nii.gz"}
BLOCK = block(encoder=IDENTITY)


def trained_plans() -> dict[str, Any]:
    plans = deepcopy(PLANS)
    plans["configurations"]["3d_fullres"]["text_guidance"] = deepcopy(BLOCK)  # type: ignore[index]
    return plans


def checkpoint() -> dict[str, Any]:
    """What nnU-Net saves, without the weights of a whole network."""
    log: dict[str, Any] = {key: [np.float32(0.5), 0.25] for key in _LOGGED}
    log |= {"text_guidance/phase": ["align", "refine"], "text_guidance/alpha": [0.0, 0.5]}
    return {
        "network_weights": {"text_embeddings": torch.randn(4, 12)},
        "optimizer_state": {"state": {}, "param_groups": []},
        "grad_scaler_state": None,
        "logging": log,
        "_best_ema": np.float32(0.5),
        "current_epoch": 2,
        "init_args": {
            "plans": trained_plans(),
            "configuration": "3d_fullres",
            "fold": 0,
            "dataset_json": DATASET,
            "device": torch.device("cpu"),
        },
        "trainer_name": "nnUNetTrainerAlignRefine",
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }


CHECKPOINT = checkpoint()


@given(mutated(BLOCK) | JUNK)
def test_any_settings_build_a_network_or_are_a_clear_error(damaged: Any) -> None:
    try:
        settings = resolve(damaged)
        assert resolve(json.loads(json.dumps(settings.block()))) == settings
        if settings.text.resolved is not None:
            network(damaged)
    except (SettingsError, NetworkError) as error:
        assert_clear(error)


@given(mutated(PLANS), mutated(DATASET) | st.just(DATASET), st.sampled_from(["3d_fullres", "own", "other"]))
def test_any_plans_train_or_are_a_clear_error(plans: Any, dataset: Any, configuration: str) -> None:
    if not isinstance(plans, dict) or not isinstance(dataset, dict):
        return  # nnU-Net itself takes nothing but objects
    try:
        described, _, _ = describe_training(plans, configuration, dataset, {}, None)
        chosen = described["configurations"][configuration]
        merged = {**described["configurations"].get(chosen.get("inherits_from"), {}), **chosen}
        build_from_architecture(merged["architecture"], resolve(chosen["text_guidance"]), 1, 2, True)
    except NotImplementedError as error:
        assert "cascade" in str(error)  # noqa: PT017
    except TextGuidedError as error:
        assert_clear(error)


@pytest.mark.parametrize("value", [[], float("inf"), float("nan"), None, "one", [[1]], True, -1])
@pytest.mark.parametrize("name", ["background", "csPCa"])
def test_odd_label_values_train_or_are_a_clear_error(name: str, value: Any) -> None:
    dataset = {**DATASET, "labels": {"background": 0, "csPCa": 1, name: value}}
    try:
        describe_training(PLANS, "3d_fullres", dataset, {}, None)
    except TextGuidedError as error:
        assert_clear(error)


@given(mutated(PLANS, most=1))
def test_any_plans_in_the_model_folder_are_compared_or_are_a_clear_error(plans: Any) -> None:
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "fold_0").mkdir()
        torch.save(CHECKPOINT, Path(name) / "fold_0" / "checkpoint_final.pth")
        (Path(name) / "plans.json").write_text(json.dumps(plans))
        try:
            check_model_folder(name, trained_plans(), "3d_fullres")
        except TextGuidedError as error:
            assert_clear(error)


@given(mutated(CHECKPOINT))
def test_any_checkpoint_is_described_and_continued_or_is_a_clear_error(content: Any) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "fold_0" / "checkpoint_final.pth"
        path.parent.mkdir()
        torch.save(content, path)
        examine(path)


@given(st.data())
def test_any_damage_to_a_checkpoint_is_a_clear_error(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "fold_0" / "checkpoint_final.pth"
        path.parent.mkdir()
        torch.save(CHECKPOINT, path)
        whole = bytearray(path.read_bytes())
        position = data.draw(st.integers(0, len(whole) - 1))
        kind = data.draw(st.sampled_from(["truncated", "flipped", "overwritten"]))
        if kind == "truncated":
            del whole[position:]
        elif kind == "flipped":
            whole[position] ^= data.draw(st.integers(1, 255))
        else:
            rubbish = data.draw(st.binary(min_size=1, max_size=64))
            whole[position : position + len(rubbish)] = rubbish
        path.write_bytes(whole)
        examine(path)


def examine(path: Path) -> None:
    """Everything that reads checkpoints."""

    def inspect() -> None:
        for source in (path, path.parents[1]):
            for report in inspect_model(source):
                str(render(report)).encode("utf-8", "backslashreplace")
                json.dumps(to_json(report))

    for read in (
        inspect,
        lambda: open_source(str(path)),
        lambda: check_continuation(str(path), trained_plans(), "3d_fullres"),
    ):
        try:
            read()
        except TextGuidedError as error:
            assert_clear(error)


def embedding_document() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors and metadata of a valid embedding file."""
    from safetensors import safe_open

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "e.safetensors"
        write_embeddings(path, random_embeddings(PromptBank("b", {"csPCa": ("lesion", "focus")}, ("rest",)), dim=4))
        with safe_open(path, framework="numpy") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, json.loads(file.metadata()["text_embeddings"])  # noqa: SIM118


TENSORS, DOCUMENT = embedding_document()
ARRAYS = st.builds(
    lambda shape, dtype, value: np.full(shape, value).astype(dtype),
    st.lists(st.integers(0, 4), max_size=3),
    st.sampled_from(["float32", "float16", "int32", "float64", "uint8"]),
    st.sampled_from([0.0, 0.5, 1.0, 7.0]),
)


@given(
    mutated(DOCUMENT), st.dictionaries(st.sampled_from(["pooled", "tokens", "token_prompt", "x"]), ARRAYS, max_size=2)
)
def test_any_forged_embedding_file_is_valid_or_a_clear_error(document: Any, arrays: dict[str, np.ndarray]) -> None:
    """Not damaged but made by somebody: its hash is right."""
    tensors = {**TENSORS, **arrays}
    if isinstance(document, dict):
        document = {**document, "content_sha256": _content_sha256(tensors, document)}
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "e.safetensors"
        save_file(tensors, path, metadata={"text_embeddings": json.dumps(document)})
        try:
            embeddings = read_embeddings(path)
        except EmbeddingFileError as error:
            assert_clear(error)
        else:
            assert np.isfinite(embeddings.pooled).all()
            assert len(embeddings.pooled) == len(embeddings.bank.prompts)


@given(JUNK | st.dictionaries(TEXT, JUNK, max_size=3), st.binary(max_size=32), st.integers(0, 2**64 - 1) | st.none())
def test_any_safetensors_header_is_a_clear_error(header: Any, body: bytes, length: int | None) -> None:
    """Also one that claims more bytes than there are: nothing is allocated for them."""
    text = json.dumps(header).encode()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "e.safetensors"
        path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)
        with pytest.raises(EmbeddingFileError) as caught:
            read_embeddings(path)
        assert_clear(caught.value)


@given(mutated([{"train": ["a", "b"], "val": ["c"]}]) | JUNK)
def test_any_splits_are_folds_or_a_clear_error(splits: Any) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "splits_final.json"
        path.write_text(json.dumps(splits))
        try:
            check_folds(path, ["a", "b", "c"])
        except TextGuidedError as error:
            assert_clear(error)


@pytest.mark.parametrize("text", ["[" * 100_000, json.dumps(DEEP), '{"labels": ' * 70 + "1" + "}" * 70])
def test_deeply_nested_json_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "bank.json").write_text(text)
    with pytest.raises(PromptBankError, match="not valid JSON") as caught:
        load_bank(str(tmp_path / "bank.json"))
    assert_clear(caught.value)


def test_json_as_deep_as_plans_is_read(tmp_path: Path) -> None:
    (tmp_path / "plans.json").write_text(json.dumps(PLANS))
    assert read_json(tmp_path / "plans.json") == PLANS


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    for name in ("bank.json", "e.safetensors"):
        with (tmp_path / name).open("wb") as stream:
            stream.truncate(1 << 40)  # a terabyte, of which the disk holds nothing
    for read, name in ((load_bank, "bank.json"), (read_embeddings, "e.safetensors")):
        with pytest.raises(TextGuidedError, match="more than") as caught:
            read(str(tmp_path / name))
        assert_clear(caught.value)


def test_plans_cannot_have_functions_called(tmp_path: Path) -> None:
    hostile = deepcopy(CONFIGURATION["architecture"])
    hostile["arch_kwargs"] |= {"nonlin": "os.system", "nonlin_kwargs": {"command": f"touch {tmp_path / 'executed'}"}}
    with pytest.raises(NetworkError, match=r"'os\.system' is not a layer"):
        build_from_architecture(hostile, resolve(BLOCK), 1, 2, True)
    assert os.listdir(tmp_path) == []


@needs_safe_loading
def test_the_examples_are_valid_undamaged(tmp_path: Path) -> None:
    """Or the tests above would only see errors."""
    describe_network(trained_plans(), "3d_fullres")
    text = describe_training(PLANS, "own", DATASET, {}, None)[2]
    assert text is not None
    path = tmp_path / "fold_0" / "checkpoint_final.pth"
    path.parent.mkdir()
    torch.save(CHECKPOINT, path)
    check_continuation(str(path), trained_plans(), "3d_fullres")
    assert inspect_model(path)[0].folds[0].epoch == 2
    assert open_source(str(path)).embeddings is not None
    save_file(TENSORS, tmp_path / "e.safetensors", metadata={"text_embeddings": json.dumps(DOCUMENT)})
    assert len(read_embeddings(tmp_path / "e.safetensors").pooled) == 3
