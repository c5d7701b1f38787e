"""Checks of what the method stands on: nnU-Net, torch, torchvision, the three folders, the packaged embeddings."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import tempfile
from pathlib import Path

from nnunetv2_textguided.commands.doctor.result import CheckResult, fails, waits, works
from nnunetv2_textguided.errors import TextGuidedError

SUPPORTED_NNUNET = ((2, 8), (2, 9))
"""nnunetv2 from the first of these versions on, and before the second (pyproject.toml says the same)."""
_PAIR = "Reinstall torch and torchvision as the pair that https://pytorch.org/get-started names for your machine."


def check_nnunet_version() -> CheckResult:
    """nnU-Net is installed in a version whose discovery and trainer hooks this package was written for."""
    low, high = (".".join(map(str, version)) for version in SUPPORTED_NNUNET)
    remedy = f"pip install 'nnunetv2>={low}.0,<{high}'"
    try:
        version = importlib.metadata.version("nnunetv2")
    except importlib.metadata.PackageNotFoundError as error:
        return fails("nnunetv2 is not installed in this environment.", remedy, error)
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if not SUPPORTED_NNUNET[0] <= numbers < SUPPORTED_NNUNET[1]:
        return fails(f"nnunetv2 {version} is installed, but {low}.0 or newer and older than {high} is needed.", remedy)
    return works(f"nnunetv2 {version}")


def check_torch() -> CheckResult:
    """torch can be imported, and convolves and differentiates on the CPU."""
    try:
        import torch

        weight = torch.ones(1, 1, 3, 3, 3, requires_grad=True)
        torch.nn.functional.conv3d(torch.ones(1, 1, 4, 4, 4), weight).sum().backward()
        return works(f"torch {torch.__version__}")
    except Exception as error:  # whatever a broken installation raises is what the user has to see
        return fails("torch does not work.", _PAIR, error)


def check_gpu() -> CheckResult:
    """Every visible GPU computes. No GPU at all is no fault; one that torch cannot use is."""
    try:
        import torch

        if torch.cuda.is_available():
            for device in range(torch.cuda.device_count()):
                image = torch.ones(1, 1, 4, 4, 4, device=f"cuda:{device}")
                torch.nn.functional.conv3d(image, image)
                torch.cuda.synchronize(device)
            names = (torch.cuda.get_device_name(device) for device in range(torch.cuda.device_count()))
            return works(f"CUDA {torch.version.cuda}: {', '.join(names)}")
        if torch.backends.mps.is_available():
            return works("Apple GPU; use it with -device mps")
        if _has_nvidia_driver() and os.environ.get("CUDA_VISIBLE_DEVICES", "0") not in ("", "-1"):
            torch.zeros(1, device="cuda")  # raises, and says why
        return works("no GPU: use -device cpu, which is enough for the demo, but not for real trainings")
    except Exception as error:  # see check_torch
        remedy = "Install a torch build for this driver (`nvidia-smi` shows its CUDA version), or update the driver."
        return fails("There is an NVIDIA GPU, but torch cannot use it.", remedy, error)


def _has_nvidia_driver() -> bool:
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia/version").exists()


def check_torchvision() -> CheckResult:
    """torchvision fits torch: a mismatch breaks every external trainer, since nnU-Net imports all of its own first."""
    try:
        import torch
        import torchvision

        torchvision.ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
        return works(f"torchvision {torchvision.__version__}")
    except Exception as error:  # a mismatch is a RuntimeError, a missing library an ImportError or OSError
        return fails(
            "torchvision does not work with this torch; no external nnU-Net trainer can be found.", _PAIR, error
        )


def check_folder(variable: str) -> CheckResult:
    """One of nnU-Net's three variables names a folder in which a file can be created."""
    value = os.environ.get(variable)
    if not value:
        return waits(f"{variable} is not set.", f'export {variable}="/path/to/{variable}"')
    folder = Path(value)
    if not folder.is_dir():
        remedy = f'mkdir -p "{folder}"'
        if value[0] in "\"'~":
            remedy = f"Set {variable} to the folder's whole path: the quotation mark or ~ has become part of the value."
        return fails(f"{variable} names {folder}, which is no folder.", remedy)
    try:
        # Permission bits say little (root, network file systems, quotas): trying does.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if variable == "nnUNet_raw" and os.access(folder, os.R_OK | os.X_OK):
            return works(f"{folder} (read-only: converting data sets into it will fail, training will not)")
        return fails(f"{variable}: nothing can be written to {folder}.", "Check its permissions or free space.", error)
    return works(str(folder))


def check_raw() -> CheckResult:
    """nnUNet_raw exists; read-only is enough for everything but converting data sets."""
    return check_folder("nnUNet_raw")


def check_preprocessed() -> CheckResult:
    """nnUNet_preprocessed exists and can be written to."""
    return check_folder("nnUNet_preprocessed")


def check_results() -> CheckResult:
    """nnUNet_results exists and can be written to."""
    return check_folder("nnUNet_results")


def check_embeddings() -> CheckResult:
    """The packaged embedding file is whole: with it a training needs neither text encoder nor internet."""
    from nnunetv2_textguided.files import file_sha256
    from nnunetv2_textguided.text.packaged import PACKAGED, packaged_embeddings

    try:
        embeddings = packaged_embeddings()
    except TextGuidedError as error:
        return fails(str(error), "Reinstall nnunetv2-textguided: pip install --force-reinstall --no-deps ...", error)
    count, width = embeddings.pooled.shape
    identity = embeddings.encoder["id"]
    return works(f"{count} prompts, {width} dimensions, {identity}, sha256 {file_sha256(PACKAGED)[:12]}")
