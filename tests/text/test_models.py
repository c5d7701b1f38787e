"""What trained models say of their text: continuing, inspecting, exporting. Real trainers and checkpoints, no data."""

from __future__ import annotations

import json
import shutil
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_textguided.cli import main
from nnunetv2_textguided.errors import DataError, TextGuidedError
from nnunetv2_textguided.inference.inspection.report import inspect_model
from nnunetv2_textguided.text.bank import PromptBank
from nnunetv2_textguided.text.embeddings import write_embeddings
from nnunetv2_textguided.text.packaged import packaged_embeddings, packaged_rows
from nnunetv2_textguided.text.resolve import FILE_NAME
from nnunetv2_textguided.text.source import open_source
from tests.text.conftest import random_embeddings
from tests.text.models import DATASET, make_trainer, needs_safe_loading, save_model, write_dataset

Output = pytest.CaptureFixture[str]


@pytest.fixture
def model(nnunet_folders: Path) -> Path:
    """A model folder with one finished fold, trained with the packaged embeddings."""
    write_dataset(nnunet_folders, "csPCa")
    return save_model(make_trainer("csPCa"))


def export(model: Path, target: Path) -> Path:
    """A ZIP with the layout of nnUNetv2_export_model_to_zip."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(model.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(model.parents[1]))
    return target


def write_bank(folder: Path, *lesion: str) -> None:
    write_embeddings(folder / FILE_NAME, random_embeddings(PromptBank("b", {"csPCa": lesion}, ("rest",))))


def test_training_with_another_bank_refuses_to_continue_and_says_what_differs(nnunet_folders: Path) -> None:
    folder = write_dataset(nnunet_folders, "csPCa")
    write_bank(folder, "prostate lesion", "focal tumour")
    checkpoint = save_model(make_trainer("csPCa"), finished=False) / "fold_0" / "checkpoint_latest.pth"
    make_trainer("csPCa").load_checkpoint(str(checkpoint))
    write_bank(folder, "prostate lesion", "round tumour")
    with pytest.raises(TextGuidedError) as error:
        make_trainer("csPCa").load_checkpoint(str(checkpoint))
    assert "prompts" in str(error.value)
    assert "round tumour" in str(error.value)
    assert "focal tumour" in str(error.value)


@needs_safe_loading
def test_inspect_describes_folder_checkpoint_and_zip_alike(model: Path, tmp_path: Path, capsys: Output) -> None:
    checkpoint = model / "fold_0" / "checkpoint_final.pth"
    for path in (model, checkpoint, export(model, tmp_path / "model.zip")):
        assert main(["inspect", str(path)]) == 0
        shown = capsys.readouterr().out
        for fact in (
            "nnUNetTrainerAlignRefine",
            DATASET,
            "nnUNetPlans, configuration 3d_fullres",
            "preset         align_refine",
            "sentence-transformers/all-MiniLM-L6-v2",
            "general-domain",
            "clinically significant prostate cancer",
            "finished, 2 epochs; phase refine (alpha 0.5)",
            "best moving pseudo Dice 0.6250",
            "validation Dice 0.5000",
            f"nnunetv2 {version('nnunetv2')}",
            "fold_0",
        ):
            assert fact in shown, path


@needs_safe_loading
def test_inspect_summarises_folds_and_notices_those_that_heard_other_words(model: Path, nnunet_folders: Path) -> None:
    other = Path(str(model) + "_other")
    shutil.move(model, other)
    write_bank(nnunet_folders / "preprocessed" / DATASET, "something else")
    save_model(make_trainer("csPCa", fold=1))
    shutil.copytree(model / "fold_1", other / "fold_1")
    [report] = inspect_model(other)
    assert [fold.validation_dice for fold in report.folds] == [0.5, 0.6]
    assert "fold_0" in report.remarks[0]
    assert "test/random" in report.remarks[0]


@needs_safe_loading
def test_inspect_reads_what_nnunet_itself_exports(model: Path, tmp_path: Path, capsys: Output) -> None:
    from nnunetv2.model_sharing.model_export import export_pretrained_model

    for name in ("dataset_fingerprint.json", "fold_0/progress.png"):  # a whole training leaves them
        (model / name).touch()
    archive, trainer = tmp_path / "exported.zip", "nnUNetTrainerAlignRefine"
    export_pretrained_model(DATASET, str(archive), ("3d_fullres",), trainer, "nnUNetPlans", (0,), strict=False)
    capsys.readouterr()
    assert main(["inspect", str(archive)]) == 0
    shown = capsys.readouterr().out
    assert "clinically significant prostate cancer" in shown
    assert "validation Dice 0.5000" in shown


@needs_safe_loading
def test_inspect_prints_json(model: Path, capsys: Output) -> None:
    (model / "fold_1").mkdir()
    assert main(["inspect", str(model), "--json"]) == 0
    [report] = json.loads(capsys.readouterr().out)
    assert report["settings"]["text"]["resolved"]["labels"] == ["csPCa"]
    assert report["folds"][0]["phase"] == "refine"


@needs_safe_loading
def test_inspect_of_a_stock_model_says_that_it_has_no_text(nnunet_folders: Path, capsys: Output) -> None:
    write_dataset(nnunet_folders, "csPCa")
    trainer = make_trainer("csPCa", trainer=nnUNetTrainer)
    folder = Path(trainer.output_folder)
    trainer.save_checkpoint(str(folder / "checkpoint_latest.pth"))
    assert main(["inspect", str(folder.parent)]) == 0
    shown = capsys.readouterr().out
    assert "text           none: not a text-guided model" in shown
    assert "unfinished" in shown
    with pytest.raises(DataError, match="without text"):
        open_source(str(folder.parent))


class Attack:
    """Executes something when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@needs_safe_loading
def test_inspect_executes_nothing_and_says_what_it_would_not_load(model: Path, tmp_path: Path, capsys: Output) -> None:
    marker, checkpoint = tmp_path / "executed", model / "fold_0" / "checkpoint_final.pth"
    content = torch.load(checkpoint, weights_only=False)
    torch.save({**content, "extra": Attack(marker)}, checkpoint)
    assert main(["inspect", str(model)]) == 1
    shown = capsys.readouterr().out
    assert "NOT READ" in shown
    assert "Path.touch" in shown or "pathlib" in shown
    assert main(["inspect", str(checkpoint)]) == 1
    assert main(["prompts", "show", str(checkpoint)]) == 1
    assert main(["inspect", str(export(model, tmp_path / "m.zip"))]) == 1
    assert not marker.exists()
    torch.load(checkpoint, weights_only=False)
    assert marker.exists(), "the attack would have worked"


def test_inspect_reads_nothing_where_torch_cannot_read_safely(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.delattr(torch.serialization, "get_unsafe_globals_in_checkpoint", raising=False)
    assert main(["inspect", str(model / "fold_0" / "checkpoint_final.pth")]) == 1
    assert "needs torch 2.6" in capsys.readouterr().err


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not a checkpoint"),
        lambda path: torch.save([1, 2], path),
        lambda path: torch.save({"init_args": {}}, path),
    ],
)
def test_damaged_checkpoints_are_errors_not_tracebacks(model: Path, damage: Any, capsys: Output) -> None:
    checkpoint = model / "fold_0" / "checkpoint_final.pth"
    damage(checkpoint)
    assert main(["inspect", str(checkpoint)]) == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert main(["inspect", str(model)]) == 1
    assert "NOT READ" in capsys.readouterr().out


def test_inspect_of_other_things_is_an_error(tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.zip").write_bytes(b"PK")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    for name in ("nothing", "empty", "bad.zip", "other.zip"):
        assert main(["inspect", str(tmp_path / name)]) == 1
        assert capsys.readouterr().err.startswith("error: ")


@needs_safe_loading
def test_prompts_of_a_checkpoint_are_what_its_network_holds(model: Path) -> None:
    source = open_source(str(model))
    assert source.embeddings is not None
    row = source.bank.prompts.index("rectum")
    expected = packaged_embeddings().pooled[packaged_rows()["rectum"]]
    assert float(source.embeddings.pooled[row] @ expected) > 0.9999


@needs_safe_loading
def test_prompts_are_shown_validated_and_compared_wherever_they_are(
    model: Path, tmp_path: Path, capsys: Output
) -> None:
    folder = tmp_path / "preprocessed" / DATASET
    bank = PromptBank("mine", {"csPCa": ("prostate lesion", "no tumour")}, ("rest",))
    embeddings = random_embeddings(bank)
    write_embeddings(folder / FILE_NAME, embeddings)
    told = save_model(make_trainer("csPCa", fold=1)) / "fold_1" / "checkpoint_final.pth"
    sources = [str(folder / FILE_NAME), DATASET, str(told), str(model / "plans.json")]
    for source in sources:
        assert main(["prompts", "show", source]) == 0
        shown = capsys.readouterr().out
        assert "label csPCa\n    0  prostate lesion\n    1  no tumour\ncontext\n    2  rest" in shown, source
        assert "encoder: test/random" in shown, source
        if not source.endswith("plans.json"):  # which name the words, but hold no vectors
            assert f"100{round(100 * float(embeddings.pooled[0] @ embeddings.pooled[1])):4d}" in shown, source
        assert main(["prompts", "validate", source]) == 0
        assert "warning (negation): 'no tumour'" in capsys.readouterr().out, source
        assert main(["prompts", "compare", sources[0], source]) == 0, source
        assert main(["prompts", "compare", str(model / "fold_0" / "checkpoint_final.pth"), source]) == 3
        differences = capsys.readouterr().out
        assert "prompts of csPCa: with ['no tumour']" in differences, source
        assert "encoder id: sentence-transformers/all-MiniLM-L6-v2 -> test/random" in differences, source


@needs_safe_loading
def test_prompts_of_a_control_are_not_passed_off_as_language(nnunet_folders: Path) -> None:
    write_dataset(nnunet_folders, "csPCa")
    model = save_model(make_trainer("csPCa", block={"text": {"control": "random"}}))
    source = open_source(str(model / "fold_0" / "checkpoint_final.pth"))
    assert "control: random" in source.kind
    assert source.embeddings is not None
    row = source.bank.prompts.index("rectum")
    assert abs(float(source.embeddings.pooled[row] @ packaged_embeddings().pooled[packaged_rows()["rectum"]])) < 0.5


def test_tokens_of_the_file_reach_the_refiner(nnunet_folders: Path) -> None:
    bank = PromptBank("b", {"csPCa": ("prostate lesion", "tumour")}, ("rest",))
    embeddings = random_embeddings(bank)
    write_embeddings(write_dataset(nnunet_folders, "csPCa") / FILE_NAME, embeddings)
    network = make_trainer("csPCa", block={"refiner": {"tokens": "tokens"}}).bare_network
    assert embeddings.tokens is not None
    torch.testing.assert_close(network.text_tokens, torch.from_numpy(embeddings.tokens))
    network.refiner.alpha.fill_(1.0)
    network.refiner.band = 1e9
    for layer in (network.refiner.head, network.refiner.attention.mix):
        torch.nn.init.normal_(layer.weight)
    image = torch.randn(1, 3, 8, 16, 16)
    with torch.no_grad():
        before = network(image)[0]
        network.text_tokens.neg_()
        assert not torch.equal(network(image)[0], before)
