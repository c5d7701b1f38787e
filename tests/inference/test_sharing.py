"""A model that is exported and installed predicts bit by bit as before; what is damaged or hostile is not installed."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from nnunetv2_textguided import cli
from nnunetv2_textguided.cli import main
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.case_likelihood import FILE as LIKELIHOOD
from nnunetv2_textguided.imaging.intensities import FILE as INTENSITIES
from nnunetv2_textguided.imaging.intensities import LEVELS
from nnunetv2_textguided.inference.run import Summary
from nnunetv2_textguided.inference.sharing import source
from nnunetv2_textguided.inference.sharing.card import Licences
from nnunetv2_textguided.inference.sharing.export import ExportOptions, export_model
from nnunetv2_textguided.inference.sharing.install import install_model
from nnunetv2_textguided.inference.sharing.manifest import NAME, describe_file, parse_manifest
from nnunetv2_textguided.text.packaged import PACKAGED
from tests.inference.conftest import read, stock_predict
from tests.inference.models import Model

LICENCE = ExportOptions(data_licence="CC BY-NC 4.0")
MODEL = "nnUNetTrainerAlignRefine__nnUNetPlans__3d_fullres"
SIDE = {"text_embeddings.safetensors", LIKELIHOOD, "dataset_fingerprint.json", "lesion_threshold.json"}


@pytest.fixture(scope="module")
def trained(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model under its name in nnU-Net's results, with what trainings and commands leave beside it."""
    folder = tmp_path_factory.mktemp("results") / "Dataset902_Tiny" / MODEL
    shutil.copytree(model.folder, folder)
    shutil.copyfile(PACKAGED, folder / "text_embeddings.safetensors")
    for name in SIDE - {"text_embeddings.safetensors"}:
        (folder / name).write_text(json.dumps({"spacings": [[3.0, 1.0, 1.0]], "shapes_after_crop": [[9, 32, 36]]}))
    for fold in folder.glob("fold_*"):
        (fold / INTENSITIES).write_text(json.dumps({"ranges": [[[-1.0, 1.0]] * len(LEVELS)] * 3}))
        (fold / "debug.json").write_text('{"hostname": "secret"}')
        (fold / "validation").mkdir()
        cases = [{"prediction_file": "/home/somebody/patient_17.nii.gz"}]
        summary = {"foreground_mean": {"Dice": 0.5}, "metric_per_case": cases}
        (fold / "validation" / "summary.json").write_text(json.dumps(summary))
    return folder


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "model"
    export_model(trained, folder, LICENCE)
    return folder


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    """An exported model that a test may spoil."""
    return Path(shutil.copytree(exported, tmp_path / "copy"))


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((folder / NAME).read_text())
    change(content)
    (folder / NAME).write_text(json.dumps(content))


def results(folder: Path) -> dict[str, np.ndarray]:
    """Values of all images and probabilities that a prediction wrote."""
    found = {str(path.relative_to(folder)): read(path) for path in folder.rglob("*.nii.gz")}
    for path in folder.rglob("*.npz"):
        with np.load(path) as arrays:
            found |= {f"{path.relative_to(folder)}: {key}": arrays[key] for key in arrays.files}
    return found


def zipped(folder: Path, target: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for path in folder.rglob("*"):
            if path.is_file():
                archive.write(path, f"{prefix}{path.relative_to(folder).as_posix()}")
    return target


@pytest.mark.parametrize("prefix", ["", "inner/"])
def test_a_zip_installs_what_the_folder_does(prefix: str, exported: Path, tmp_path: Path) -> None:
    folders = [
        install_model(str(source), tmp_path / "results", dataset)
        for source, dataset in ((exported, "Folder"), (zipped(exported, tmp_path / "m.zip", prefix), "Zip"))
    ]
    one, two = ({str(p.relative_to(f)): describe_file(p).sha256 for p in f.rglob("*.*")} for f in folders)
    assert one == two


def test_a_model_that_went_through_export_predicts_the_same_bits(
    exported: Path, trained: Path, images: Path, predict: Callable[..., Summary], tmp_path: Path
) -> None:
    installed = install_model(str(exported), tmp_path / "results")
    assert installed == tmp_path / "results" / "Dataset902_Tiny" / MODEL
    for where, folder in (("before", trained), ("after", installed)):
        predict(trained=folder, folder=tmp_path / where, folds=(0, 1), heatmaps=True, probabilities=True)
    before, after = (results(tmp_path / where) for where in ("before", "after"))
    assert before.keys() == after.keys()
    assert len(before) > 4  # masks, heatmaps and probabilities of two cases
    for name, values in before.items():
        assert np.array_equal(values, after[name]), name
    assert before["ball_0.nii.gz"].any()


def test_stock_nnunet_predicts_with_what_was_installed(
    exported: Path, trained: Path, images: Path, tmp_path: Path
) -> None:
    installed = install_model(str(exported), tmp_path / "results")
    for where, folder in (("before", trained), ("after", installed)):
        stock_predict(folder, images, tmp_path / where, (0,), mirroring=True)
    for path in (tmp_path / "before").glob("*.nii.gz"):
        assert np.array_equal(read(path), read(tmp_path / "after" / path.name))


def test_weights_and_what_lies_beside_them_survive(exported: Path, trained: Path, tmp_path: Path) -> None:
    installed = install_model(str(exported), tmp_path / "results")
    for name in SIDE | {f"fold_1/{INTENSITIES}", "plans.json", "dataset.json"}:
        assert (installed / name).read_bytes() == (trained / name).read_bytes()
    for fold in ("fold_0", "fold_1"):
        old, new = (
            torch.load(folder / fold / "checkpoint_final.pth", weights_only=True) for folder in (trained, installed)
        )
        assert old["network_weights"].keys() == new["network_weights"].keys()
        for key, weight in old["network_weights"].items():
            assert torch.equal(weight, new["network_weights"][key])
            assert weight.dtype == new["network_weights"][key].dtype
        assert {k: v for k, v in old.items() if k != "network_weights"} == {
            k: v for k, v in new.items() if k != "network_weights"
        }


def test_nothing_of_patients_or_the_machine_is_exported_and_no_pickle(exported: Path) -> None:
    files = [path for path in exported.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".safetensors", ".md"}
    for path in files:
        content = path.read_bytes()
        assert b"patient_17" not in content
        assert b"secret" not in content


def test_the_card_has_the_hubs_metadata_and_the_datas_licence(exported: Path) -> None:
    _, head, body = (exported / "README.md").read_text().split("---\n", 2)
    metadata = yaml.safe_load(head)
    assert metadata["license"] == "cc-by-nc-4.0"
    assert metadata["library_name"] == "nnunetv2-textguided"
    assert metadata["datasets"] == ["Dataset902_Tiny"]
    assert metadata["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.5
    assert "No commercial use" in body
    assert "Training data: CC BY-NC 4.0" in body
    assert "lesion" in body  # the prompts


@pytest.mark.parametrize(
    ("text", "forbidden"),
    [("CC BY-NC 4.0", True), ("cc-by-nc-sa-4.0", True), ("Non-commercial research", True), ("CC BY 4.0", False)],
)
def test_licences_that_exclude_commercial_use(text: str, forbidden: bool) -> None:
    assert Licences("apache-2.0", text).non_commercial == forbidden


def test_data_without_a_licence_are_not_exported(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="licence"):
        export_model(trained, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_the_headline_of_picai_says_its_licence_without_being_asked() -> None:
    assert Licences.of({"licence": "CC BY-NC 4.0"}, "apache-2.0", None) == Licences("apache-2.0", "CC BY-NC 4.0")


@pytest.mark.parametrize(
    "name",
    ["../evil.json", "/etc/evil.json", "a/../../evil.json", "C:\\evil.json", "fold_0\\..\\evil.json", ".hidden.json",
     "fold_0/model.pth", "fold_0/model.pkl", "nul.json", "a/b/c/d/e.json", "fold_0//x.json", "con", "évil.json"],
)  # fmt: skip
def test_a_manifest_that_names_a_way_out_or_a_pickle_is_refused(name: str, copy: Path, tmp_path: Path) -> None:
    change_manifest(copy, lambda content: content["files"].update({name: content["files"]["plans.json"]}))
    with pytest.raises(DataError, match="Do not use this model"):
        install_model(str(copy), tmp_path / "results")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("key", ["dataset", "model"])
@pytest.mark.parametrize("value", ["..", "a/b", "", "/abs", None, 3, "con"])
def test_a_manifest_cannot_choose_another_folder(key: str, value: object, copy: Path, tmp_path: Path) -> None:
    change_manifest(copy, lambda content: content.update({key: value}))
    with pytest.raises(DataError, match="no name of a folder"):
        install_model(str(copy), tmp_path / "results")


@pytest.mark.parametrize("name", ["../../evil.json", "/evil.json", "x\\..\\..\\evil.txt", "C:/evil.txt"])
def test_a_zip_with_a_way_out_is_refused_whole(name: str, exported: Path, tmp_path: Path) -> None:
    path = zipped(exported, tmp_path / "m.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, "evil")
    with pytest.raises(DataError, match="hostile"):
        install_model(str(path), tmp_path / "results")
    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["fold_0/model.safetensors", "plans.json", "fold_1/checkpoint.json"])
@pytest.mark.parametrize("damage", ["a bit", "shorter", "longer", "absent"])
def test_damage_is_found_and_nothing_is_installed(name: str, damage: str, copy: Path, tmp_path: Path) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= damage == "a bit"
    new = {"a bit": bytes(content), "shorter": content[:-1], "longer": content + b" "}.get(damage)
    (copy / name).unlink()
    if new is not None:
        (copy / name).write_bytes(new)
    with pytest.raises(DataError, match=r"checksum differs|cannot be read"):
        install_model(str(copy), tmp_path / "results")
    assert not [path for path in (tmp_path / "results").rglob("*") if path.is_file()]


def test_an_install_that_stops_halfway_leaves_nothing(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        install_model(str(exported), tmp_path / "results")
    assert not list((tmp_path / "results" / "Dataset902_Tiny").iterdir())


def test_a_pickle_beside_the_model_is_neither_read_nor_installed(copy: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "executed",)

    torch.save(Evil(), copy / "fold_0" / "checkpoint_best.pth")
    installed = install_model(str(copy), tmp_path / "results")
    assert not (installed / "fold_0" / "checkpoint_best.pth").exists()
    assert not (tmp_path / "executed").exists()


def test_a_checkpoint_that_could_execute_something_is_not_exported(trained: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "executed",)

    folder = Path(shutil.copytree(trained, tmp_path / trained.name))
    torch.save({"network_weights": {}, "init_args": Evil()}, folder / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(DataError, match="execute code"):
        export_model(folder, tmp_path / "out", LICENCE)
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "out").exists()


def test_what_is_installed_is_not_overwritten(exported: Path, tmp_path: Path) -> None:
    first = install_model(str(exported), tmp_path / "results")
    before = describe_file(first / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(DataError, match="installed already"):
        install_model(str(exported), tmp_path / "results")
    assert describe_file(first / "fold_0" / "checkpoint_final.pth") == before
    other = install_model(str(exported), tmp_path / "results", dataset="Dataset903_Other")
    assert other.parent.name == "Dataset903_Other"


@pytest.mark.parametrize(
    "name", ["2203", "../x", "Dataset1", "Dataset012_", "Dataset012_a/b", "/Dataset012_a", "Folder"]
)
def test_a_model_is_installed_where_nnunet_finds_it_or_not_at_all(
    name: str, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results"
    (results / "Dataset2204_Other").mkdir(parents=True)
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(variable, str(results))
    words = ["install-model", str(exported), "--results", str(results), "--dataset"]
    assert main([*words, name]) == 1
    assert f"There is no data set {name if name.isdecimal() else repr(name)}" in capsys.readouterr().err
    assert [path.name for path in results.rglob("*")] == ["Dataset2204_Other"]
    with pytest.raises(DataError, match="no name of a folder"):
        install_model(str(exported), results, "../x")
    for there in ("2204", "Dataset012_new"):
        assert main([*words, there]) == 0
    assert {path.parent.name for path in results.glob(f"*/{MODEL}")} == {"Dataset2204_Other", "Dataset012_new"}


def test_offline_a_name_on_the_hub_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="HF_HUB_OFFLINE is set"):
        install_model("somebody/no-such-model", tmp_path)


def test_without_the_hubs_package_a_name_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install huggingface_hub"):
        install_model("somebody/no-such-model", tmp_path)


def test_a_snapshot_of_the_hub_is_installed_without_pickles(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked = {}

    def snapshot(repository: str, **options: Any) -> str:
        asked.update(options, repository=repository)
        return str(exported)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setattr("nnunetv2_textguided.text.hub.unreachable", lambda endpoint: None)
    assert install_model("org/name@v1", tmp_path).is_dir()
    assert (asked["repository"], asked["revision"], asked["local_files_only"]) == ("org/name", "v1", False)
    assert asked["allow_patterns"] == ["*.json", "*.safetensors", "*.md"]


@pytest.mark.parametrize("content", [[], {}, {"format": "other"}, {"format": "nnunetv2_textguided.model"}])
def test_other_manifests_are_refused(content: object) -> None:
    with pytest.raises(DataError):
        parse_manifest(content, "config.json")


def test_both_commands(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, card = tmp_path / "out", tmp_path / "report.md"
    card.write_text("# Model card\nReported by the benchmark.\n")
    words = ["-m", str(trained), "-o", str(out), "-f", "0", "--data-licence", "CC BY 4.0", "--card", str(card)]
    assert cli.main(["export-model", *words]) == 0
    assert "## Model card" in (out / "README.md").read_text()
    assert cli.main(["install-model", str(out), "--results", str(tmp_path / "results")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "results" / "Dataset902_Tiny" / MODEL)
    assert cli.main(["install-model", str(out), "--results", str(tmp_path / "results")]) == 1
