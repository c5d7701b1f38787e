"""The container's entry point as a function: PI-CAI's interface, both outputs or none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunetv2_textguided.cli import main
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.case_facts import CaseFacts
from nnunetv2_textguided.evaluation.case_likelihood import (
    FILE,
    case_likelihood,
    fit_likelihood,
    write_likelihood,
)
from nnunetv2_textguided.inference.container import export_container, readme, requirements
from nnunetv2_textguided.inference.grand_challenge import (
    CLINICAL,
    DETECTION_MAP,
    INPUTS,
    LIKELIHOOD,
    detect,
    find_model,
)
from nnunetv2_textguided.inference.grand_challenge import main as main_of_container
from nnunetv2_textguided.inference.licences import UNKNOWN, licence_of
from nnunetv2_textguided.inference.options import ModelOptions
from tests.inference.conftest import read
from tests.inference.models import Model, ball
from tests.inference.test_geometry import same_geometry

SHAPE = (9, 32, 36)


def study(folder: Path, image: np.ndarray) -> Path:
    """A study in Grand Challenge's layout; the ADC and HBV scans are coarser than the T2W scan."""
    for (_, place), values, step in zip(INPUTS.items(), image, (1, 2, 2), strict=True):
        scan = sitk.GetImageFromArray(values.astype(np.float32))
        scan.SetSpacing((1.0, 1.0, 3.0))
        scan.SetOrigin((-16.25, 7.5, 3.125))
        (folder / "images" / place).mkdir(parents=True)
        # Every second voxel, so that both grids share their origin.
        sitk.WriteImage(scan[::step, ::step, :], str(folder / "images" / place / f"{place[:14]}.mha"))
    return folder


def with_ball(radius: float) -> np.ndarray:
    rng = np.random.default_rng(1)
    lesion = ball(SHAPE, (4, 16, 12), radius, (3.0, 1.0, 1.0)) if radius else 0
    return rng.normal(0, 0.2, (3, *SHAPE)) + (np.arange(SHAPE[2]) > 18) + 2.5 * lesion


@pytest.fixture
def options(model: Model) -> ModelOptions:
    return ModelOptions(model.folder, (0,), mirroring=False)


def test_a_lesion_is_mapped_on_the_t2_grid_and_scored(options: ModelOptions, tmp_path: Path) -> None:
    picai_eval = pytest.importorskip("picai_eval")
    source = study(tmp_path / "input", with_ball(6.0))
    likelihood = detect(options, source, tmp_path / "output")
    found = sitk.ReadImage(str(tmp_path / "output" / DETECTION_MAP))
    t2 = sitk.ReadImage(str(next((source / "images" / INPUTS["T2W"]).glob("*.mha"))))
    assert same_geometry(found, t2)
    assert found.GetOrigin() == t2.GetOrigin()
    detection = sitk.GetArrayFromImage(found)
    assert json.loads((tmp_path / "output" / LIKELIHOOD).read_text()) == likelihood
    assert likelihood == pytest.approx(float(detection.max()))
    assert likelihood > 0.5
    truth = ball(SHAPE, (4, 16, 12), 6.0, (3.0, 1.0, 1.0)).astype(np.uint8)
    metrics = picai_eval.evaluate(y_det=[detection, 0 * detection], y_true=[truth, 0 * truth])
    assert metrics.AP == 1.0


def test_a_study_without_finding_gives_an_empty_map_and_no_likelihood(options: ModelOptions, tmp_path: Path) -> None:
    likelihood = detect(options, study(tmp_path / "input", with_ball(0)), tmp_path / "output", candidates="mask")
    assert not read(tmp_path / "output" / DETECTION_MAP).any()
    assert json.loads((tmp_path / "output" / LIKELIHOOD).read_text()) == likelihood == 0.0


@pytest.mark.parametrize("fault", ["missing", "truncated", "twice", "empty", "elsewhere"])
def test_a_faulty_study_is_an_error_and_leaves_no_output(options: ModelOptions, tmp_path: Path, fault: str) -> None:
    source = study(tmp_path / "input", with_ball(6.0))
    adc = next((source / "images" / INPUTS["ADC"]).glob("*.mha"))
    if fault == "missing":
        adc.unlink()
    elif fault == "truncated":
        adc.write_bytes(adc.read_bytes()[: adc.stat().st_size // 2])
    elif fault == "twice":
        shutil.copyfile(adc, adc.with_name("another.mha"))
    else:
        image = sitk.ReadImage(str(adc))
        if fault == "empty":
            image = image * 0
        else:
            image.SetOrigin((500.0, 0.0, 0.0))
        sitk.WriteImage(image, str(adc))
    with pytest.raises(DataError, match="adc"):
        detect(options, source, tmp_path / "output")
    assert not (tmp_path / "output").exists()


def export_zip(model: Model, path: Path) -> Path:
    """As nnUNetv2_export_model_to_zip arranges it."""
    inside = "Dataset902_Tiny/nnUNetTrainerAlignRefine__nnUNetPlans__3d_fullres"
    with zipfile.ZipFile(path, "w") as archive:
        for file in model.folder.rglob("*"):
            if file.is_file():
                archive.write(file, f"{inside}/{file.relative_to(model.folder)}")
    return path


def test_the_exported_container_has_all_it_needs_and_runs_as_nobody(model: Model, tmp_path: Path) -> None:
    archive = export_zip(model, tmp_path / "model.zip")
    assert main(["export-container", "--model", str(archive), "-o", str(tmp_path / "container")]) == 0
    container = tmp_path / "container"
    assert find_model(container / "model").folds == (0, 1)
    dockerfile = (container / "Dockerfile").read_text()
    assert "{" not in dockerfile
    commands = [line.split()[0] for line in dockerfile.splitlines() if line[:1].isupper()]
    assert commands.index("USER") < commands.index("ENTRYPOINT")
    copied = [line.split()[-2] for line in dockerfile.splitlines() if line.startswith("COPY")]
    assert all((container / name).exists() for name in copied)
    pinned = (container / "requirements.txt").read_text().splitlines()[1:]
    assert all("==" in line and "+" not in line for line in pinned)
    assert "Licences" in (container / "README.md").read_text()
    assert any(line.startswith("nnunetv2==2.8") for line in pinned)
    package = container / "package" / "nnunetv2_textguided"
    assert (package / "inference" / "grand_challenge.py").is_file()
    assert list((package / "trainers").glob("*.py"))
    assert list((package / "plans").glob("*.json"))


def test_the_containers_readme_names_the_licence_of_all_that_it_installs(tmp_path: Path) -> None:
    import importlib.metadata

    rows = {}
    for line in readme(fitted=True).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3:
            rows[cells[0]] = cells[1:]
    for pin in requirements().splitlines()[1:]:
        name, version = pin.split("==")
        row = rows[name.lower().replace("_", "-")]
        assert row[0].split("+")[0] == version
        assert row[1] not in ("", UNKNOWN), f"{name} has no licence in its metadata: name it"
    assert rows["connected-components-3d"][1].startswith("LGPL")
    assert rows["matplotlib"][0] == importlib.metadata.version("matplotlib")  # brought by others, not pinned
    assert "connected-components-3d (LGPL" in readme(fitted=False)
    assert "it has one" in readme(fitted=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("License-Expression: MIT\nLicense: other\n", "MIT"),
        ("Classifier: License :: OSI Approved :: BSD License\nLicense: a\n", "BSD License"),
        ("License: Apache  License\n  Version 2\n", "Apache License"),
        ("License: UNKNOWN\n", UNKNOWN),
    ],
)
def test_a_licence_is_read_from_what_a_package_says(text: str, expected: str) -> None:
    from email import message_from_string

    assert licence_of(message_from_string(text)) == expected  # type: ignore[arg-type]


def test_clinical_facts_enter_the_likelihood_of_a_model_that_was_fitted_to_them(
    options: ModelOptions, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(options.folder, folder)
    fitted = replace(options, folder=folder)
    source = study(tmp_path / "input", with_ball(6.0))
    plain = detect(fitted, source, tmp_path / "plain")
    facts = {"patient_age": 68, "PSA_report": 12.3, "prostate_volume_report": None, "scanner_manufacturer": "S"}
    (source / CLINICAL).write_text(json.dumps(facts))
    # Without a regression in the model folder they change nothing.
    assert detect(fitted, source, tmp_path / "unfitted") == plain
    random = np.random.default_rng(0)
    patients = [CaseFacts(score, psa, age) for score, psa, age in random.uniform((0, 1, 50), (1, 30, 80), (60, 3))]
    positive = [one.psa_ng_per_ml > 12 for one in patients]
    model = fit_likelihood(patients, positive, [i % 3 for i in range(60)], ("image", "clinical"))[0]
    write_likelihood(folder / FILE, [model])
    found = detect(fitted, source, tmp_path / "fitted")
    expected = case_likelihood([model], CaseFacts(plain, 12.3, 68))
    assert expected is not None
    assert found == pytest.approx(expected[0])
    assert found != plain
    assert json.loads((tmp_path / "fitted" / LIKELIHOOD).read_text()) == found
    (source / CLINICAL).write_text(json.dumps({**facts, "PSA_report": 1e9}))
    with pytest.raises(DataError, match="psa_ng_per_ml"):
        detect(fitted, source, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


# The container's interpreter: what its requirements do not bring, directly or through others, cannot be imported.
IN_CONTAINER = """
import importlib.metadata as metadata, re, sys
from importlib.machinery import PathFinder
from pathlib import Path

container, source, target = map(Path, sys.argv[1:])

def plain(name):
    return re.sub("[-_.]+", "-", name).lower()

lines = (container / "requirements.txt").read_text().splitlines()
names, brought = [plain(line.split("==")[0]) for line in lines if "==" in line], set()
while names:
    if (name := names.pop()) in brought:
        continue
    brought.add(name)
    try:
        needed = metadata.requires(name) or ()
    except metadata.PackageNotFoundError:
        continue  # of another platform
    names += [plain(re.match(r"[\\w.-]+", one)[0]) for one in needed if "extra ==" not in one]
hidden = {top for top, owners in metadata.packages_distributions().items()
          if top != "nnunetv2_textguided" and not brought & set(map(plain, owners))}

class Hide(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in hidden else super().find_spec(name, path, target)

assert "pytest" in hidden, "nothing is hidden"
sys.meta_path = [Hide if finder is PathFinder else finder for finder in sys.meta_path]
import nnunetv2_textguided
assert container in Path(nnunetv2_textguided.__file__).parents
from nnunetv2_textguided.inference.grand_challenge import main
sys.exit(main(source, target))
"""


@pytest.mark.slow
def test_the_exported_container_runs_with_what_its_requirements_bring(model: Model, tmp_path: Path) -> None:
    container = tmp_path / "container"
    export_container(export_zip(model, tmp_path / "model.zip"), container)
    source, target = study(tmp_path / "input", with_ball(6.0)), tmp_path / "output"
    package = container / "package"
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("nnUNet_")},
        "PYTHONPATH": str(package),
        "nnUNet_extTrainer": str(package / "nnunetv2_textguided" / "trainers"),
        "MODEL": str(container / "model"),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", IN_CONTAINER, str(container), str(source), str(target)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert float(json.loads((target / LIKELIHOOD).read_text())) > 0.5
    assert read(target / DETECTION_MAP).any()


def test_the_entry_point_reports_a_faulty_study_by_its_exit_status(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL", str(model.folder))
    assert main_of_container(tmp_path / "nothing", tmp_path / "output") == 1
    assert "no .mha file" in capsys.readouterr().err
    assert not (tmp_path / "output").exists()


def test_what_cannot_become_a_container_is_refused(model: Model, tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("no ZIP")
    with pytest.raises(DataError, match="no readable ZIP"):
        export_container(tmp_path / "text.zip", tmp_path / "a")
    other = shutil.copytree(model.folder, tmp_path / "other")
    dataset = json.loads((other / "dataset.json").read_text())
    (other / "dataset.json").write_text(json.dumps({**dataset, "channel_names": {"0": "CT"}}))
    with pytest.raises(DataError, match="not T2W, ADC and HBV"):
        export_container(other, tmp_path / "b")
    (other / "dataset.json").write_text(json.dumps({**dataset, "labels": {"background": 0, "liver": 1}}))
    with pytest.raises(DataError, match="no label csPCa"):
        export_container(other, tmp_path / "c")
    executing = Path(shutil.copytree(model.folder, tmp_path / "executing")) / "fold_1" / "checkpoint_final.pth"
    torch.save({**torch.load(executing, weights_only=False), "more": Path("of a class")}, executing)
    with pytest.raises(DataError, match="The checkpoint contains pathlib"):
        export_container(executing.parents[1], tmp_path / "d")
    assert not any((tmp_path / name).exists() for name in "abcd")
