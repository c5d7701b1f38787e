"""Prediction with what is known of a patient: what is told, what it changes, what is contradicted, and end to end."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

import nnunetv2_textguided
from nnunetv2_textguided.cli import main
from nnunetv2_textguided.errors import DataError, EmbeddingFileError, EncoderError, TextGuidedError
from nnunetv2_textguided.inference.grand_challenge import CLINICAL, DETECTION_MAP, detect, find_model
from nnunetv2_textguided.inference.run import Summary
from nnunetv2_textguided.inference.text_effect import Lesser, LessText, text_effect
from nnunetv2_textguided.inference.viewer.page import PAGE
from nnunetv2_textguided.text.case_text import CaseText
from nnunetv2_textguided.text.embeddings import write_embeddings
from nnunetv2_textguided.text.encode import embed, encode
from nnunetv2_textguided.text.encoders import load_encoder
from nnunetv2_textguided.text.resolve import FILE_NAME
from tests.inference.conftest import read
from tests.inference.models import PATCH, Model, make_model, scene
from tests.inference.test_grand_challenge import study, with_ball
from tests.text.tiny_open_clip import build

pytest.importorskip("transformers", reason="needs the text extra")

Predict = Callable[..., Summary]
KNOWN = ("lesion of the zone", "normal prostate")
UNKNOWN = "tumour near the rectum"
FACTS = {"psa_ng_per_ml": 12.3, "age_years": 68, "prostate_volume_ml": 58}
FIXED = {"grounding": {"enabled": True}, "text": {"case": {"sentences": True, "clinical": True}}}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny text encoder."""
    return build(tmp_path_factory.mktemp("encoder") / "tiny")


@pytest.fixture(scope="module")
def telling(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model that was trained with sentences and facts; its data set's embedding file is beside it."""
    return trained_with(encoder, tmp_path_factory.mktemp("telling"), tokens=True, steps=50)


def trained_with(encoder: Path, root: Path, *, tokens: bool, steps: int) -> Model:
    """A model that reads tokens, or one embedding of each text."""
    loaded = load_encoder(f"local:{encoder}")
    tables = {role: embed(loaded, KNOWN, tokens=tokens) for role in ("phrase", "sentence")}
    write_embeddings(root / FILE_NAME, encode(loaded, None, ["csPCa"], tables=tables))
    folder = root / "Dataset902_Tiny" / "trainer__plans__3d_fullres"
    return make_model(folder, steps=steps, fixed=FIXED, dataset_folder=root, folds=1)


@pytest.fixture
def alone(telling: Model, tmp_path: Path) -> Path:
    """The same model where its data set's embedding file is not."""
    folder = Path(shutil.copytree(telling.folder, tmp_path / "alone"))
    plans = json.loads((folder / "plans.json").read_text())
    resolved = plans["configurations"]["3d_fullres"]["text_guidance"]["text"]["resolved"]
    resolved["source"] = "/elsewhere/text_embeddings.safetensors"
    (folder / "plans.json").write_text(json.dumps(plans))
    return folder


def written(path: Path, **cases: dict[str, Any]) -> Path:
    path.write_text(json.dumps(cases))
    return path


def record(folder: Path, case: str = "ball_0") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "cases" / f"{case}.json").read_text())
    return content


def test_what_text_changes_and_the_mask_without_it(predict: Predict, telling: Model, tmp_path: Path) -> None:
    text = written(tmp_path / "text.json", ball_0={"findings": list(KNOWN), "clinical": FACTS})
    predict(folder=tmp_path / "plain", trained=telling.folder)
    predict(folder=tmp_path / "told", trained=telling.folder, model_options={"case_text": text}, viewer=True)
    plain, without = (tmp_path / part / "ball_0.nii.gz" for part in ("plain", "told/without_text"))
    np.testing.assert_array_equal(read(plain), read(without))
    assert (read(plain) != read(tmp_path / "told" / "ball_0.nii.gz")).any()
    # Of the other case nothing is known: it is the same to the bit, and nothing more is written.
    np.testing.assert_array_equal(read(tmp_path / "plain" / "none_1.nii.gz"), read(tmp_path / "told" / "none_1.nii.gz"))
    assert "text" not in record(tmp_path / "told", "none_1")
    assert not (tmp_path / "told" / "without_text" / "none_1.nii.gz").exists()
    found = record(tmp_path / "told")["text"]
    assert found["told"] == {"findings": list(KNOWN), "clinical": FACTS}
    assert found["without"]["case_likelihood"] == record(tmp_path / "plain")["case_likelihood"]
    for one in found["sentences"]:
        values = read(tmp_path / "told" / one["map"])
        assert values.shape == read(plain).shape
        assert 0 <= values.min() < values.max() <= 1
        assert one["grounded_ml"] == pytest.approx(0.003 * (values >= 0.5).sum())
        assert sitk.ReadImage(str(tmp_path / "told" / one["map"])).GetSpacing() == (1, 1, 3)
    with (tmp_path / "told" / "sentences.csv").open() as stream:
        assert [row["sentence"] for row in csv.DictReader(stream)] == list(KNOWN)
    with (tmp_path / "told" / "cases.csv").open() as stream:
        rows = {row["case"]: row for row in csv.DictReader(stream)}
    assert float(rows["ball_0"]["likelihood_without_text"]) == pytest.approx(
        found["without"]["case_likelihood"], abs=1e-4
    )
    assert rows["none_1"]["likelihood_without_text"] == ""
    assert not (tmp_path / "plain" / "sentences.csv").exists()
    script = (tmp_path / "told" / "viewer" / "ball_0.js").read_text()
    content = json.loads(script.removeprefix("showPredictedCase(").rstrip(";\n")[:-1])
    assert [layer["name"] for layer in content["layers"] if layer["kind"] == "sentence"] == ["sentence 1", "sentence 2"]
    assert content["text"]["sentences"][1]["sentence"] == KNOWN[1]
    assert (tmp_path / "told" / PAGE).is_file()


def test_what_one_part_changes_is_the_difference_to_all_others(
    predict: Predict, telling: Model, tmp_path: Path
) -> None:
    everything = {"findings": list(KNOWN), "clinical": FACTS}
    entries = {
        "all": everything,
        "no first": {**everything, "findings": [KNOWN[1]]},
        "no facts": {"findings": list(KNOWN)},
    }
    volumes = {}
    for name, entry in entries.items():
        text = written(tmp_path / f"{name}.json", ball_0=entry)
        predict(folder=tmp_path / name, trained=telling.folder, model_options={"case_text": text})
        volumes[name] = 0.003 * (read(tmp_path / name / "ball_0.nii.gz") == 1).sum()
    assert len(set(volumes.values())) == 3
    found = record(tmp_path / "all")["text"]
    assert found["sentences"][0]["volume_change_ml"] == pytest.approx(volumes["all"] - volumes["no first"])
    assert found["clinical"]["volume_change_ml"] == pytest.approx(volumes["all"] - volumes["no facts"])


def test_contradictions_and_candidates_from_text() -> None:
    shape = (2, 6, 6)
    maps = [np.zeros(shape) for _ in range(3)]
    maps[0][0, :2, :2], maps[1][1, 4:, 4:] = 0.5, 0.9
    image, without = np.zeros(shape), np.full(shape, 0.02)
    without[0, 0, 0] = 0.1
    image[0, :2, :2], image[1, 4:, 4:] = 0.9, 0.8  # with text, a second candidate
    lesser = [without, without, image, image]
    less_text = LessText("case", CaseText(("here", "there", "?")), maps, [Lesser(p, p > 0.05) for p in lesser])
    numbers = np.where(image == 0.9, 1, np.where(image == 0.8, 2, 0))
    effect = text_effect(less_text, image, image > 0.05, numbers, lambda p, mask: (np.where(mask, p, 0), 0), 0.5)
    here, there, nowhere = effect.record["sentences"]
    assert (here["contradicted"], there["contradicted"], nowhere["contradicted"]) == (False, True, None)
    assert there["peak_without_text"] == pytest.approx(0.02)
    assert effect.from_text == {2}
    # Without the first sentence neither candidate would be there but for its one voxel; the others change nothing.
    assert here["candidates_from_it"] == [2]
    assert here["volume_change_ml"] == pytest.approx(0.5 * 7)
    assert here["likelihood_change"] == pytest.approx(0.8)
    assert there["candidates_from_it"] == []
    assert effect.remarks == [
        'the image contradicts: "there"',
        'the model finds no place for: "?"',
        "candidates from text, not from the image alone: 2",
    ]


def test_sentences_are_embedded_by_the_models_encoder_or_not_at_all(
    predict: Predict, telling: Model, alone: Path, encoder: Path, tmp_path: Path
) -> None:
    text = written(tmp_path / "text.json", ball_0={"findings": [KNOWN[0]]})

    def masks(name: str, trained: Path, **options: Any) -> np.ndarray:
        predict(folder=tmp_path / name, trained=trained, model_options={"case_text": text, **options})
        return read(tmp_path / name / "sentence_maps" / "ball_0_1.nii.gz")

    # Embedded before: no encoder is needed.
    expected = masks("file", telling.folder)
    with pytest.raises(EncoderError, match=r"such as 'lesion of the zone' of case ball_0.*has no name here") as raised:
        masks("none", alone)
    assert "--case-text FILE -o sentences.safetensors" in str(raised.value)
    assert not (tmp_path / "none").exists()
    np.testing.assert_allclose(masks("encoder", alone, encoder=f"local:{encoder}"), expected, atol=2e-3)
    other = build(tmp_path / "other" / "tiny")
    config = json.loads((other / "open_clip_config.json").read_text())
    (other / "open_clip_config.json").write_text(json.dumps({**config, "preprocess_cfg": {"mean": 0}}))
    with pytest.raises(EncoderError, match="not the encoder that the model was trained with"):
        masks("another", alone, encoder=f"local:{other}")
    with pytest.raises(EncoderError, match=r"encoder cannot be had. The model folder does not exist"):
        masks("absent", alone, encoder="local:/nowhere")
    # A file made where the encoder is.
    made = tmp_path / "sentences.safetensors"
    command = ["encode", "--labels", "csPCa", "--case-text", str(text), "-o", str(made), "--encoder"]
    assert main([*command, f"local:{encoder}"]) == 0
    # Other sentences beside it in a batch change an embedding in its last bit.
    np.testing.assert_allclose(masks("given", alone, sentences=made), expected, atol=1e-3)
    assert main([*command, f"local:{other}"]) == 0
    with pytest.raises(EmbeddingFileError, match=r"different: .*sha256"):
        masks("foreign", alone, sentences=made)
    made.write_bytes(made.read_bytes()[:-100])
    with pytest.raises(EmbeddingFileError):
        masks("damaged", alone, sentences=made)
    # A file without the tokens that the model reads says nothing to it.
    assert main([*command, f"local:{encoder}", "--no-tokens"]) == 0
    with pytest.raises(EncoderError, match="has no name here"):
        masks("no tokens", alone, sentences=made)
    np.testing.assert_allclose(masks("both", alone, sentences=made, encoder=f"local:{encoder}"), expected, atol=2e-3)


def test_a_model_of_whole_embeddings_reads_files_with_and_without_tokens(
    predict: Predict, encoder: Path, tmp_path: Path
) -> None:
    model = trained_with(encoder, tmp_path / "model", tokens=False, steps=3)
    block = model.plans["configurations"]["3d_fullres"]["text_guidance"]
    assert block["text"]["resolved"]["word_dim"] == 0
    text, maps = written(tmp_path / "text.json", ball_0={"findings": ["a mass"]}), []
    for name, more in (("tokens", []), ("none", ["--no-tokens"])):
        made = tmp_path / f"{name}.safetensors"
        command = ["encode", "--labels", "csPCa", "--case-text", str(text), "-o", str(made), "--encoder"]
        assert main([*command, f"local:{encoder}", *more]) == 0
        predict(folder=tmp_path / name, trained=model.folder, model_options={"case_text": text, "sentences": made})
        maps.append(read(tmp_path / name / "sentence_maps" / "ball_0_1.nii.gz"))
    assert np.array_equal(*maps)


def test_prompts_are_exchanged_in_a_model_that_reads_tokens(predict: Predict, telling: Model, tmp_path: Path) -> None:
    text = written(tmp_path / "text.json", ball_0={"findings": [KNOWN[0]]})
    own = telling.folder.parents[1] / FILE_NAME
    options = {"case_text": text, "embeddings": own}
    predict(folder=tmp_path / "out", trained=telling.folder, model_options=options)
    predict(folder=tmp_path / "own", trained=telling.folder, model_options={"case_text": text})
    maps = [read(tmp_path / name / "sentence_maps" / "ball_0_1.nii.gz") for name in ("out", "own")]
    assert np.array_equal(*maps)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"ball_0": {"findings": ["lesion"]', "JSON"),
        ('{"ball_9": {"findings": ["lesion"]}}', "ball_9 looks like ball_0"),
        ('{"ball_0": {"clinical": {"age_years": 6800}}}', "age_years is 6800"),
        ('{"ball_0": {"clinical": {"psa_ng_per_ml": 5}}}', "PSA without the prostate's volume"),
        ("{}", "no case has text"),
        ('{"ball_0": {"findings": ["%s"]}}' % ("lesion " * 200), "cannot read a sentence"),
    ],
)
def test_text_that_is_not_valid_ends_before_anything_is_predicted(
    predict: Predict, telling: Model, encoder: Path, tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "text.json").write_text(content)
    options = {"case_text": tmp_path / "text.json", "encoder": f"local:{encoder}"}
    with pytest.raises(TextGuidedError, match=message):
        predict(trained=telling.folder, model_options=options)
    assert not list(tmp_path.glob("out/*.nii.gz"))


def test_rows_that_contradict_each_other_are_refused(predict: Predict, telling: Model, tmp_path: Path) -> None:
    (tmp_path / "text.csv").write_text("case,age_years\nball_0,68\nball_0,69\n")
    with pytest.raises(DataError, match="differ in age_years"):
        predict(trained=telling.folder, model_options={"case_text": tmp_path / "text.csv"})


def test_a_model_that_reads_no_text_says_so(predict: Predict, tmp_path: Path) -> None:
    text = written(tmp_path / "text.json", ball_0={"findings": ["lesion"], "clinical": FACTS})
    with pytest.raises(DataError, match="network reads no sentences; this model's network reads no clinical facts"):
        predict(model_options={"case_text": text})


def test_a_case_is_predicted_again_if_its_text_has_changed(predict: Predict, telling: Model, tmp_path: Path) -> None:
    from tests.inference.conftest import HERE

    work = type(HERE)(preprocessing=0, export=0, continued=True)
    skipped = []
    for entry in ({"findings": [KNOWN[0]]}, {"findings": [KNOWN[0]]}, {"findings": [KNOWN[1]]}):
        text = written(tmp_path / "text.json", ball_0=entry)
        skipped.append(predict(trained=telling.folder, model_options={"case_text": text}, work=work).skipped)
    assert skipped == [0, 2, 1]
    assert record(tmp_path / "out")["text"]["told"] == {"findings": [KNOWN[1]]}


def test_from_python(telling: Model, model: Model, tmp_path: Path) -> None:
    values = scene(np.random.default_rng(7), PATCH, 1)[0]
    channels = {name: (each, (3.0, 1.0, 1.0)) for name, each in zip(("t2w", "adc", "hbv"), values, strict=True)}
    loaded = nnunetv2_textguided.load(telling.folder, candidates="mask")
    plain = loaded.predict(**channels)
    told = loaded.predict(finding=KNOWN[0], psa=12.3, age=68, volume=58, **channels)
    assert plain.text_effect is None
    assert plain.without_text is None
    assert told.text_effect is not None
    assert told.text_effect["told"] == {"findings": [KNOWN[0]], "clinical": FACTS}
    np.testing.assert_array_equal(*(sitk.GetArrayFromImage(mask) for mask in (plain.mask, told.without_text)))
    assert [image.GetSize() for image in told.sentence_maps] == [told.mask.GetSize()]
    assert [lesion["from_text"] is None for lesion in plain.lesions] == [True] * len(plain.lesions)
    with pytest.raises(DataError, match="age_years is 680"):
        loaded.predict(age=680, **channels)
    unread = nnunetv2_textguided.load(model.folder, candidates="mask", folds=(0,)).predict(finding="lesion", **channels)
    assert "this model's network reads no sentences" in unread.remarks


def test_the_containers_clinical_information_reaches_the_network(telling: Model, tmp_path: Path) -> None:
    maps = []
    for name in ("without", "with"):
        source = study(tmp_path / name / "in", with_ball(7))
        if name == "with":
            facts = {"PSA_report": 12.3, "patient_age": 68, "prostate_volume_report": 58}
            (source / CLINICAL).write_text(json.dumps(facts))
        detect(find_model(telling.folder), source, tmp_path / name / "out", candidates="mask")
        maps.append(read(tmp_path / name / "out" / DETECTION_MAP))
    assert (maps[0] != maps[1]).any()


@pytest.mark.slow
def test_the_commands_end_to_end(telling: Model, encoder: Path, images: Path, tmp_path: Path) -> None:
    text = written(tmp_path / "text.json", ball_0={"findings": [KNOWN[0], UNKNOWN], "clinical": FACTS})

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        program = "import sys; from nnunetv2_textguided.cli import main; sys.exit(main())"
        command = [sys.executable, "-c", program, *map(str, words), "-device", "cpu"]
        return subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, timeout=500)

    common = ["predict", "-i", images, "-m", telling.folder, "-f", "0", "--candidates", "mask", "--case-text", text]
    failed = run(*common, "-o", tmp_path / "failed")
    assert failed.returncode == 1
    assert "text encoder" in failed.stderr or "has no name here" in failed.stderr
    assert not list((tmp_path / "failed").glob("*.nii.gz"))
    done = run(*common, "-o", tmp_path / "out", "--encoder", f"local:{encoder}", "-npp", 1, "-nps", 1)
    assert done.returncode == 0, done.stderr
    assert [one["sentence"] for one in record(tmp_path / "out")["text"]["sentences"]] == [KNOWN[0], UNKNOWN]
    files = [f"--{name}" for name in ("t2w", "adc", "hbv")]
    given = [
        word
        for name, number in zip(files, range(3), strict=True)
        for word in (name, images / f"ball_0_{number:04d}.nii.gz")
    ]
    case = run("predict-case", "-m", telling.folder, "-o", tmp_path / "case", *given, "--candidates", "mask",
               "--finding", KNOWN[0], "--psa", 12.3, "--age", 68, "--volume", 58)  # fmt: skip
    assert case.returncode == 0, case.stderr
    assert "without text: " in case.stdout
    assert KNOWN[0] in (tmp_path / "case" / "report.html").read_text()
    assert (tmp_path / "case" / "without_text" / "case.nii.gz").is_file()
