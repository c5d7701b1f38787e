"""From a PACS and back to it: a real Orthanc on the loopback address, DICOM's own protocol, nothing simulated."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_textguided.cli import main
from tests.inference.dicom_writer import Study
from tests.inference.models import Model
from tests.inference.test_patient import OFFSET, SCALE, channels, image, plain_adc  # noqa: F401  (a fixture)

ORTHANC = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(ORTHANC is None, reason="Orthanc (Debian's orthanc) is not installed"),
]
pynetdicom = pytest.importorskip("pynetdicom")
pydicom = pytest.importorskip("pydicom")
hd = pytest.importorskip("highdicom")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Pacs:
    """A running Orthanc."""

    def __init__(self, dicom: int, http: int) -> None:
        self.dicom, self.http = dicom, http

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=20) as answer:
            return bytes(answer.read())

    def store(self, files: list[Path]) -> None:
        """C-STORE of files."""
        datasets = [pydicom.dcmread(path) for path in files]
        entity = pynetdicom.AE("TESTS")
        for uid in {str(one.SOPClassUID) for one in datasets}:
            entity.add_requested_context(uid)
        association = entity.associate("127.0.0.1", self.dicom, ae_title="ORTHANC")
        assert association.is_established
        try:
            assert [association.send_c_store(one).Status for one in datasets] == [0] * len(datasets)
        finally:
            association.release()

    def fetch(self, folder: Path) -> list[Path]:
        """Every instance, into a folder."""
        folder.mkdir()
        for number, instance in enumerate(json.loads(self.get("/instances"))):
            (folder / f"{number}.dcm").write_bytes(self.get(f"/instances/{instance}/file"))
        return sorted(folder.iterdir())


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[Pacs]:
    made = Pacs(free_port(), free_port())
    configuration = tmp_path / "orthanc.json"
    configuration.write_text(
        json.dumps(
            {
                "StorageDirectory": str(tmp_path / "storage"),
                "IndexDirectory": str(tmp_path / "storage"),
                "HttpPort": made.http,
                "DicomPort": made.dicom,
                "RemoteAccessAllowed": False,
                "AuthenticationEnabled": False,
                "DicomAlwaysAllowStore": True,
                "UnknownSopClassAccepted": True,
                "Plugins": [],
            }
        )
    )
    with (tmp_path / "orthanc.log").open("w") as log:
        server = subprocess.Popen([str(ORTHANC), str(configuration)], stdout=log, stderr=log)
    try:
        for _ in range(200):
            try:
                made.get("/system")
                break
            except OSError:
                assert server.poll() is None, (tmp_path / "orthanc.log").read_text()
                time.sleep(0.1)
        yield made
    finally:
        server.terminate()
        server.wait(20)


@pytest.mark.usefixtures("model")
def test_a_study_goes_from_the_pacs_to_the_model_and_its_findings_go_back(
    pacs: Pacs,
    plain_adc: Path,  # noqa: F811
    tmp_path: Path,
    model: Model,
) -> None:
    study = Study(tmp_path / "study")
    for number, (values, name) in enumerate(zip(channels(), ("t2_tra", "flair", "high"), strict=True), start=1):
        study.series(image(values * SCALE + OFFSET, tilt=23), number, name)
    pacs.store(sorted(study.folder.rglob("*.dcm")))
    fetched = pacs.fetch(tmp_path / "fetched")
    assert len(fetched) == 3 * 8
    by_series: dict[int, list[Path]] = {}
    for path in fetched:
        by_series.setdefault(int(pydicom.dcmread(path, stop_before_pixels=True).SeriesNumber), []).append(path)
    folders = []
    for number, files in sorted(by_series.items()):
        folders.append(tmp_path / f"series{number}")
        folders[-1].mkdir()
        for path in files:
            shutil.move(path, folders[-1] / path.name)
    out = tmp_path / "out"
    command = ["predict-case", "-m", plain_adc, "-o", out, "--device", "cpu", "--candidates", "mask", "--disable_tta"]
    command += ["--t2w", folders[0], "--flair", folders[1], "--high-b", folders[2], "--dicom"]
    assert main([str(word) for word in command]) == 0

    pacs.store([out / "lesions.seg.dcm", out / "report.sr.dcm"])
    studies = json.loads(pacs.get("/studies"))
    assert len(studies) == 1, "segmentation and report join the patient's study"
    series = json.loads(pacs.get(f"/studies/{studies[0]}/series"))
    assert sorted(one["MainDicomTags"]["Modality"] for one in series) == ["MR", "MR", "MR", "SEG", "SR"]
    back = [path for path in pacs.fetch(tmp_path / "back") if pydicom.dcmread(path).Modality == "SEG"]
    segmentation = hd.seg.segread(back[0])
    numbers = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "lesion_maps" / "case.nii.gz")))
    for lesion in range(1, numbers.max() + 1):
        voxels = segmentation.get_volume(segment_numbers=[lesion]).array.astype(bool)
        assert np.count_nonzero(voxels) == np.count_nonzero(numbers == lesion)
