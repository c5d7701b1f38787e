"""A training with phrases of places, sentences and clinical facts: what is told, what is refused, and end to end."""

from __future__ import annotations

import csv
import json
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from nnunetv2_textguided.anatomy.sector_maps import anatomy_of_codes
from nnunetv2_textguided.errors import EmbeddingFileError, TrainingError
from nnunetv2_textguided.text.embeddings import write_embeddings
from nnunetv2_textguided.text.encode import embed, encode
from nnunetv2_textguided.text.encoder import Encoded
from nnunetv2_textguided.text.phrases import training_phrases
from nnunetv2_textguided.text.resolve import FILE_NAME
from nnunetv2_textguided.training.augmentation import MAX_ROTATION, with_directions
from tests.datasets import ZONES, Workspace, add_zones
from tests.training.conftest import SHORT

CASE = {"sentences": True, "clinical": True}
ON: dict[str, Any] = {"grounding": {"enabled": True, "phrases": 6}, "text": {"case": CASE}}
SENTENCES = ("PI-RADS 5 lesion in the left apex", "PI-RADS 3 lesion")
# Case 0 has no lesion and no text, case 4 a lesion and no text.
TEXTS = {
    "case_001": {"findings": list(SENTENCES), "clinical": {"psa_ng_per_ml": 8, "prostate_volume_ml": 40}},
    "case_002": {"findings": [SENTENCES[1]]},
    "case_003": {"clinical": {"age_years": 70}},
}


class HashEncoder:
    """Random codes that depend on each text alone."""

    identity = dict.fromkeys(("id", "revision", "licence", "pooling", "normalisation"), "test") | {"sha256": {}}

    def encode(self, prompts: Sequence[str]) -> Encoded:
        rows = np.stack([np.random.default_rng(zlib.crc32(p.encode())).normal(size=16) for p in prompts])
        rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        return Encoded(rows, rows, np.arange(len(rows)))


@pytest.fixture
def told(workspace: Workspace) -> Workspace:
    """The tiny data set with zones, case text, and an embedding file for both."""
    (raw,), (preprocessed,) = (list((workspace.root / name).iterdir()) for name in ("raw", "preprocessed"))

    def draw(zones: np.ndarray) -> None:
        zones[:, 8:24, 4:28], zones[:, 10:16, 10:22] = 1, 2

    add_zones(raw, preprocessed, draw)
    (raw / "case_text.json").write_text(json.dumps(TEXTS))
    encoder = HashEncoder()
    phrases = [phrase.text for phrase in training_phrases()]
    tables = {"phrase": embed(encoder, phrases), "sentence": embed(encoder, SENTENCES)}
    write_embeddings(preprocessed / FILE_NAME, encode(encoder, None, ["csPCa", *ZONES], tables=tables))
    return workspace


@pytest.fixture
def make(told: Workspace, make_trainer: Callable[..., Any]) -> Callable[..., Any]:
    """Trainers on that data set."""
    return make_trainer


def prepared(make: Callable[..., Any], **case: Any) -> Any:
    """A trainer whose network is there and whose case text is ready, without loaders."""
    trainer = make(block={**ON, "text": {"case": {**CASE, **case}}}, fold=0)
    trainer.initialize()
    trainer.text_guidance.case.prepare(trainer.bare_network, trainer.do_split()[0], trainer.preprocessed_dataset_folder)
    return trainer


def test_every_case_is_told_its_own_text(make: Callable[..., Any]) -> None:
    trainer = prepared(make, without_text=0.0, lesion_free=0.0, max_sentences=2)
    cases = [f"case_{number:03d}" for number in range(5)]
    text, members = trainer.text_guidance.tell(cases, torch.device("cpu"))
    assert text.phrases.shape == (6, 1, 16)
    assert members.shape == (6, 24)
    assert (members.sum(1) > 0).all()
    # A hash code is its text's only token; tokens are stored in half precision.
    known = torch.from_numpy(HashEncoder().encode(SENTENCES).tokens.astype(np.float16).astype(np.float32))
    assert {tuple(row) for row in text.sentences[1, :, 0].tolist()} == {tuple(row) for row in known.tolist()}
    torch.testing.assert_close(text.sentences[2, 0, 0], known[1])
    assert not text.sentences[2, 1].any()
    assert not text.sentences[[0, 3, 4]].any()
    assert (~text.facts.isnan()).sum(1).tolist() == [0, 2, 0, 1, 0]
    torch.testing.assert_close(text.facts[1, 0], torch.tensor(0.2).log())


def test_shares_of_silent_patches_and_of_benign_findings(make: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    trainer = prepared(make, without_text=0.25, lesion_free=0.5)
    draws = [trainer.text_guidance.tell(["case_000", "case_001", "case_004"], torch.device("cpu")) for _ in range(400)]
    spoken = torch.stack([draw.text.sentences.flatten(1).any(dim=1) for draw in draws]).float().mean(0)
    known = torch.stack([~draw.text.facts.isnan().all(dim=1) for draw in draws]).float().mean(0)
    # Case 0 has no lesion: other cases' sentences. Case 4 has one, and is never told another's.
    torch.testing.assert_close(spoken, torch.tensor([0.375, 0.75, 0.0]), atol=0.07, rtol=0)
    torch.testing.assert_close(known, torch.tensor([0.0, 0.75, 0.0]), atol=0.07, rtol=0)


def test_directions_survive_augmentation(make: Callable[..., Any]) -> None:
    assert with_directions((-3.2, 3.2)) == ((-MAX_ROTATION, MAX_ROTATION), None)
    assert with_directions((-0.1, 0.1)) == ((-0.1, 0.1), None)
    for block, mirrored in ((ON, None), ({}, (0, 1, 2))):
        trainer = make(block=block)
        rotation, _, _, axes = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        assert axes == trainer.inference_allowed_mirroring_axes == mirrored
        assert mirrored is not None or max(map(abs, rotation)) <= MAX_ROTATION


def test_what_cannot_be_told_is_refused(make: Callable[..., Any], told: Workspace) -> None:
    (raw,) = (told.root / "raw").iterdir()
    (preprocessed,) = (told.root / "preprocessed").iterdir()
    (raw / "case_text.json").write_text(json.dumps({"case_001": {"findings": ["never embedded"]}}))
    with pytest.raises(EmbeddingFileError, match="1 sentences have no embedding, such as 'never embedded'"):
        make(block={**ON, "text": {"case": {"sentences": True}}})
    with pytest.raises(TrainingError, match="No case has clinical facts"):
        make(block=ON)
    (raw / "case_text.json").unlink()
    with pytest.raises(TrainingError, match="asks for the text of the cases, and the data set has none"):
        make(block=ON)
    (preprocessed / FILE_NAME).unlink()
    with pytest.raises(EmbeddingFileError, match="location phrases, which the small embedding file"):
        make(block={"grounding": {"enabled": True}})
    make(block={})


@pytest.mark.slow
def test_the_stock_commands_train_and_predict(told: Workspace) -> None:
    # Every patch of a case with sentences is told them: of few, all might be silent by chance.
    always = {"text": {"case": {**CASE, "without_text": 0.0}}, "training": {**SHORT, "epochs": 3}}
    told.edit_plans("3d_fullres", {**ON, **always})
    told.run("nnUNetv2_train", "901", "3d_fullres", "0", "-tr", "nnUNetTrainerAlignRefine", "-device", "cpu")
    fold = next((told.root / "results").glob("*/*/fold_0"))
    log = next(fold.glob("training_log_*.txt")).read_text()
    assert "phrases of places; 3 cases with text (2 with sentences, 2 with clinical facts, 1 with both)" in log
    assert "Sectors of 5 cases, 5 of them cut now" in log
    with (fold / "text_guidance_log.csv").open() as stream:
        losses = [float(row["loss_ground"]) for row in csv.DictReader(stream)]
    # Who knows nothing pays ln 25 for a voxel's place, at most 1 in Dice, and ln 2 for each of nine names: 10.5.
    assert all(0 < loss < 12 for loss in losses)
    stored = torch.load(fold / "checkpoint_final.pth", weights_only=False)
    assert stored["inference_allowed_mirroring_axes"] is None
    assert stored["network_weights"]["grounding.meaning.weight"].abs().sum() > 0
    assert stored["network_weights"]["grounding.centre"].abs().sum() > 0
    images, out = next((told.root / "raw").iterdir()) / "imagesTs", told.root / "out"
    told.run("nnUNetv2_predict", "-i", str(images), "-o", str(out), "-d", "901", "-c", "3d_fullres", "-f", "0",
             "-tr", "nnUNetTrainerAlignRefine", "-device", "cpu")  # fmt: skip
    assert list(out.glob("*.nii.gz"))


def test_sectors_are_loaded_beside_the_labels(make: Callable[..., Any]) -> None:
    trainer = prepared(make)
    trainer.anatomy.prepare(0, False, print)
    dataset = trainer.get_tr_and_val_datasets()[0]
    values = np.unique(dataset.load_case("case_001")[2][:])
    assert set(anatomy_of_codes(ZONES)[values]) == {0, 1, 2}
    assert len(values) > 12
