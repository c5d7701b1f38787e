"""Export a trained model as the build folder of a Grand Challenge algorithm container."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import tempfile
import zipfile
from pathlib import Path

from nnunetv2_textguided import __version__
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.case_likelihood import FILE as LIKELIHOOD
from nnunetv2_textguided.files import PACKAGE, read_json, shipped, write_text
from nnunetv2_textguided.imaging.intensities import FILE as INTENSITIES
from nnunetv2_textguided.inference.grand_challenge import channel_order, find_model
from nnunetv2_textguided.inference.licences import packages_of
from nnunetv2_textguided.nnunet.checkpoints import read_checkpoint

TEMPLATES = PACKAGE / "inference" / "data"
NAME = "nnunetv2-textguided-picai"
REQUIREMENTS = (
    "nnunetv2", "torch", "torchvision", "dynamic-network-architectures", "batchgenerators", "acvl_utils", "SimpleITK",
    "numpy", "scipy", "scikit-image", "nibabel", "pydantic", "safetensors", "tqdm", "picai_prep",
    "report_guided_annotation", "connected-components-3d",
)  # fmt: skip
"""What the entry point imports, directly or through nnU-Net. Text encoders are not among it: prediction needs none."""


def export_container(model: Path, target: Path) -> list[Path]:
    """Write Dockerfile, README, pinned requirements, this package and the model to a folder that `docker build` takes.

    Args:
        model: a ZIP of nnUNetv2_export_model_to_zip, or a trained model folder.
        target: the folder to write; must not exist, or be empty.

    Returns:
        The files at its top.

    Raises:
        DataError: the model is not complete, a checkpoint could execute something, the channels are not T2W, ADC and
            HBV, there is no label csPCa, or the target holds something.
    """
    if target.exists() and any(target.iterdir()):
        raise DataError("The target folder is not empty.", where=target, remedy="Choose another with -o.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as hidden:
        folder = Path(hidden) / "container"
        _copy_model(model, folder / "model")
        _check_model(folder / "model")
        _copy_package(folder / "package" / PACKAGE.name)
        write_text(folder / "requirements.txt", requirements())
        python = ".".join(platform.python_version_tuple()[:2])
        for name in ("Dockerfile", "test.sh"):
            template = (TEMPLATES / name).read_text(encoding="utf-8")
            write_text(folder / name, template.format(name=NAME, python=python))
        (folder / "test.sh").chmod(0o755)
        write_text(folder / "README.md", readme(fitted=any((folder / "model").rglob(LIKELIHOOD))))
        if target.exists():
            target.rmdir()
        shutil.move(folder, target)
    return sorted(target.iterdir())


def requirements() -> str:
    """The versions that are installed here, pinned: those the model was tried with."""
    lines = [f"# For nnunetv2-textguided {__version__}."]
    for name in REQUIREMENTS:
        try:
            # A local version (+cpu) names a build that PyPI does not have.
            lines.append(f"{name}=={importlib.metadata.version(name).split('+')[0]}")
        except importlib.metadata.PackageNotFoundError as error:
            raise DataError(
                f"The container needs {name}, which is not installed here, so its version is not known.",
                where="requirements.txt",
                remedy='pip install "nnunetv2-textguided[picai]"',
            ) from error
    return "\n".join(lines) + "\n"


def readme(fitted: bool) -> str:
    """What the container takes and gives, and the licences of what it installs.

    Args:
        fitted: whether the model folder has a regression of the likelihood on clinical facts.
    """
    packages = packages_of(REQUIREMENTS)
    template = (TEMPLATES / "README.md").read_text(encoding="utf-8")
    return template.format(
        name=NAME,
        version=__version__,
        fitted="it has one" if fitted else "it has none",
        copyleft=", ".join(f"{one.name} ({one.licence})" for one in packages if one.copyleft),
        packages="\n".join(f"| {one.name} | {one.version} | {one.licence} |" for one in packages),
    )


def _copy_model(model: Path, target: Path) -> None:
    if model.is_dir():
        wanted = [*model.glob("fold_*/checkpoint_final.pth"), *(model / n for n in ("plans.json", "dataset.json"))]
        # What prediction compares cases with, and how it combines them with clinical facts, where the model has it.
        known = [model / "dataset_fingerprint.json", model / LIKELIHOOD, *model.glob(f"fold_*/{INTENSITIES}")]
        for path in [*wanted, *filter(Path.is_file, known)]:
            if not path.is_file():
                raise DataError("The model folder is not complete.", where=path)
            (target / path.relative_to(model)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / path.relative_to(model))
        return
    try:
        with zipfile.ZipFile(model) as archive:
            # extractall keeps members inside of the target, whatever their names say.
            archive.extractall(target, [m for m in archive.infolist() if not m.is_dir()])
    except FileNotFoundError as error:
        raise DataError("The model does not exist.", where=model, remedy="Check --model.") from error
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(
            f"The model is no readable ZIP: {error}",
            where=model,
            remedy="Make it with nnUNetv2_export_model_to_zip, or copy it again.",
        ) from error


def _check_model(folder: Path) -> None:
    found = find_model(folder)
    for path in sorted(found.folder.glob("fold_*/checkpoint_final.pth")):
        read_checkpoint(path, remedy="The container would refuse it, too: export a model that holds data alone.")
    dataset = read_json(found.folder / "dataset.json", error=DataError)
    channel_order(dataset)
    if "csPCa" not in dataset.get("labels", {}):
        raise DataError(
            "The model has no label csPCa.",
            where=found.folder / "dataset.json",
            remedy="PI-CAI asks for csPCa; export a model that segments it.",
        )


def _copy_package(target: Path) -> None:
    """This package as it runs here, with its shipped folders, however it was installed."""
    ignore = shutil.ignore_patterns("__pycache__", "*.py[co]")
    shutil.copytree(PACKAGE, target, ignore=ignore)
    for folder in ("plans", "trainers"):
        if not (target / folder).exists():
            shutil.copytree(shipped(folder), target / folder, ignore=ignore)
