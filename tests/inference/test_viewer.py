"""The viewer in a headless browser, opened from disk: a folder of 20 cases, and what its controls do to pixels."""

from __future__ import annotations

import hashlib
import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_textguided.files import read_json, write_json
from nnunetv2_textguided.inference.lesions import detection_map, measure_candidates
from nnunetv2_textguided.inference.viewer.case import PROBABILITY_LEVELS, Layer, _as_bytes, write_case
from nnunetv2_textguided.inference.viewer.page import ASSETS, write_page
from nnunetv2_textguided.inference.zones import NAMES
from tests.inference.models import ball

SHAPE, SPACING = (12, 40, 48), (3.0, 0.8, 0.8)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--window-size=1200,800",
    "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--virtual-time-budget=20000",
)  # fmt: skip
DRIVER = """
const $ = (id) => document.getElementById(id);
const set = (id, value) => { $(id).value = value; $(id).dispatchEvent(new Event("input")); };
const buttons = () => [...$("candidates").querySelectorAll("button")];
const slice = () => Number($("slice").value);
const wait = setInterval(() => {
  if (document.body.dataset.state !== "ready") return;
  clearInterval(wait);
  document.body.dataset.result = JSON.stringify((() => { %s })());
}, 50);
"""
NAMES_OF_CASES = [f"case {i} & <b>#ü" for i in range(20)]


@dataclass(frozen=True)
class Shown:
    """What a browser made of the page."""

    document: str
    picture: np.ndarray

    @property
    def state(self) -> str:
        found = re.search(r'<body data-state="(\w+)"', self.document)
        return found[1] if found else "no page"


@pytest.fixture(scope="session")
def browser() -> str:
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"needs a browser: none of {', '.join(names)} is installed")
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 cases; the lesion is on the patient's left, and the channel ADC is T2W inverted."""
    folder = tmp_path_factory.mktemp("predictions")
    (folder / "viewer").mkdir()
    like = sitk.Image(SHAPE[::-1], sitk.sitkFloat32)
    like.SetSpacing(SPACING[::-1])
    lesion = ball(SHAPE, (3, 20, 36), 6.0, SPACING)
    probability = 0.9 * lesion.astype(np.float32)
    candidates, _ = measure_candidates(detection_map(probability, lesion, "mask"), probability, None, None, like, NAMES)
    noise = np.random.default_rng(0).random(SHAPE)
    layers = [
        Layer("T2W", "channel", noise),
        Layer("ADC", "channel", -noise),
        Layer("heatmap", "heatmap", probability),
        Layer("probability", "probability", probability),
        Layer("mask", "mask", lesion),
    ]
    for name in NAMES_OF_CASES:
        write_case(folder / "viewer" / f"{name}.js", name, layers, candidates, like)
        record = {"case": name, "case_likelihood": 0.9, "candidates": [c.as_json() for c in candidates]}
        if name == NAMES_OF_CASES[3]:
            record |= {"combined_likelihood": 0.51, "combined_from": ["image", "clinical"]}
        write_json(folder / "cases" / f"{name}.json", record)
    write_page(folder)
    return folder


def show(browser: str, folder: Path, tmp_path: Path, **view: object) -> Shown:
    """Open the page from disk, without a server."""
    from PIL import Image

    picture = tmp_path / "picture.png"
    command = [browser, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={picture}", "--dump-dom"]
    address = (folder / "viewer.html").as_uri() + "#" + urlencode(view)
    done = subprocess.run([*command, address], capture_output=True, text=True, timeout=300, check=True)
    return Shown(done.stdout, np.asarray(Image.open(picture).convert("RGB")).astype(int))


def drive(browser: str, folder: Path, tmp_path: Path, script: str) -> dict[str, Any]:
    """Run a script in the page once it is ready; what it returns. For its helpers see DRIVER."""
    page = (folder / "viewer.html").read_text(encoding="utf-8")
    (folder / "driven.html").write_text(page.replace("</body>", f"<script>{DRIVER % script}</script></body>"))
    command = [browser, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    done = subprocess.run(
        [*command, (folder / "driven.html").as_uri()], capture_output=True, text=True, timeout=300, check=True
    )
    found = re.search(r'<body [^>]*data-result="([^"]*)"', done.stdout)
    assert found, done.stdout[:2000] + done.stderr[-2000:]
    return json.loads(html.unescape(found[1]))


def coloured(picture: np.ndarray) -> np.ndarray:
    """Where the stage shows something redder than grey: (y, x) bool."""
    stage = picture[80:720, 280:]
    return stage[..., 0] - stage[..., 2] > 40


@pytest.mark.slow
def test_twenty_cases_open_from_disk_and_the_lesion_is_in_view(browser: str, folder: Path, tmp_path: Path) -> None:
    shown = show(browser, folder, tmp_path)
    assert shown.state == "ready"
    listed = re.findall(r'<button value="case', shown.document)
    assert len(listed) == 20
    assert "1: confidence 0.90" in shown.document
    assert '<span title="0.90">0.90</span>' in shown.document
    assert '<span title="by the image 0.90; from image + clinical 0.51">0.90 · 0.51</span>' in shown.document
    found = coloured(shown.picture)
    assert found.sum() > 5000
    # Radiological convention: the patient's left is on the right of the picture.
    assert np.argwhere(found)[:, 1].mean() > found.shape[1] / 2


@pytest.mark.slow
def test_controls_change_what_is_seen(browser: str, folder: Path, tmp_path: Path) -> None:
    case = NAMES_OF_CASES[7]
    bare = show(browser, folder, tmp_path, case=case, heatmap=0, mask=0, slice=4)
    assert bare.state == "ready"
    assert not coloured(bare.picture).any()
    faint, strong = (show(browser, folder, tmp_path, case=case, mask=0, slice=4, heatmap=o) for o in (0.3, 0.9))
    redness = [(found.picture[80:720, 280:, 0] - found.picture[80:720, 280:, 2]).max() for found in (faint, strong)]
    assert 40 < redness[0] < 0.7 * redness[1], "opacity"
    elsewhere = show(browser, folder, tmp_path, case=case, slice=11)
    assert not coloured(elsewhere.picture).any()
    assert "11 / 12" in elsewhere.document
    adc = show(browser, folder, tmp_path, case=case, heatmap=0, mask=0, slice=4, channel="ADC")
    middle = slice(300, 500), slice(600, 850)
    assert np.abs(adc.picture[middle] - bare.picture[middle]).mean() > 20


@pytest.mark.slow
def test_a_case_that_is_not_there_is_named(browser: str, folder: Path, tmp_path: Path) -> None:
    shown = show(browser, folder, tmp_path, case="lost")
    assert shown.state == "failed"
    assert "viewer/lost.js is missing" in shown.document


TILTED, TILTED_SPACING = (24, 64, 64), (3.6, 2.0, 2.0)
SPOTS = ((8, 14, 20, 0.9), (9, 50, 40, 0.8), (10, 30, 32, 0.7), (15, 20, 50, 0.6), (21, 40, 10, 0.5))
"""Slice, row, column and probability of the lesions of the tilted case."""


@pytest.fixture(scope="module", params=[23.0, -23.0], ids=["tilted", "tilted the other way"])
def tilted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One case, whose slices are turned about the patient's left-right axis as T2W of the prostate often are."""
    folder = tmp_path_factory.mktemp("tilted")
    (folder / "viewer").mkdir()
    like = sitk.Image(TILTED[::-1], sitk.sitkFloat32)
    like.SetSpacing(TILTED_SPACING[::-1])
    like.SetOrigin((-60.0, 40.0, -90.0))
    cosine, sine = np.cos(np.radians(request.param)), np.sin(np.radians(request.param))
    like.SetDirection((1, 0, 0, 0, cosine, -sine, 0, sine, cosine))
    probability = np.zeros(TILTED, np.float32)
    for *centre, value in SPOTS:
        probability[ball(TILTED, tuple(centre), 5.0, TILTED_SPACING)] = value
    mask = probability > 0.55
    candidates, _ = measure_candidates(detection_map(probability, mask, "mask"), probability, None, None, like, NAMES)
    layers = [
        Layer("T2W", "channel", np.random.default_rng(0).random(TILTED)),
        Layer("probability", "probability", probability),
        Layer("mask", "mask", mask),
    ]
    write_case(folder / "viewer" / "case.js", "case", layers, candidates, like, {"remarks": ["turned by 23 degrees"]})
    record = {"case": "case", "case_likelihood": 0.9, "candidates": [c.as_json() for c in candidates]}
    write_json(folder / "cases" / "case.json", record)
    write_page(folder)
    return folder


@pytest.mark.slow
def test_buttons_go_to_the_right_slices_of_a_tilted_acquisition(browser: str, tilted: Path, tmp_path: Path) -> None:
    script = """
      const first = slice();
      const candidates = buttons().map((button) => { button.click(); return slice(); });
      set("threshold", 0.3);
      const lesions = buttons().map((button) => { button.click(); return slice(); });
      return {first, candidates, lesions, remarks: $("remarks").textContent};
    """
    found = drive(browser, tilted, tmp_path, script)
    right = [spot[0] + 1 for spot in SPOTS]
    assert found["candidates"] == right[:4], "the mask has four lesions"
    assert found["first"] == right[0], "the page opens at the first candidate"
    assert found["lesions"] == right
    assert found["remarks"] == "turned by 23 degrees"


@pytest.mark.slow
def test_lesions_follow_the_threshold(browser: str, tilted: Path, tmp_path: Path) -> None:
    script = """
      const texts = {off: $("lesions").textContent};
      for (const threshold of [0.3, 0.5, 0.505, 0.75, 0.95]) {
        set("threshold", threshold);
        texts[threshold] = [$("lesions").textContent, buttons().map((button) => button.textContent)];
      }
      set("threshold", 0);
      return {...texts, again: $("lesions").textContent, address: location.hash};
    """
    found = drive(browser, tilted, tmp_path, script)
    one = ball(TILTED, SPOTS[1][:3], 5.0, TILTED_SPACING).sum() * np.prod(TILTED_SPACING) / 1000
    for threshold, number in (("0.3", 5), ("0.5", 5), ("0.505", 4), ("0.75", 2), ("0.95", 0)):
        text, buttons = found[threshold]
        lesions = "lesion" if number == 1 else "lesions"
        assert text == f"{number} {lesions}, {number * one:.2f} mL at probability {float(threshold):.3f} or more"
        expected = [f"{i + 1}: peak {spot[3]:.2f}, {one:.2f} mL" for i, spot in enumerate(SPOTS[:number])]
        assert buttons == expected
    assert found["off"] == found["again"] == f"4 lesions, {4 * one:.2f} mL in the predicted mask"


@pytest.mark.slow
def test_the_fitted_threshold_is_a_button_and_the_mask_s_own_is_said(
    browser: str, tilted: Path, tmp_path: Path
) -> None:
    script = """
      const hidden = [$("fitted").hidden, $("edits").hidden];
      document.querySelector("#fitted").click();
      const texts = ["fitted", "edits", "lesions"].map((name) => [name, $(name).textContent]);
      return {hidden, ...Object.fromEntries(texts)};
    """
    assert drive(browser, tilted, tmp_path, script)["hidden"] == [True, True]
    path = tilted / "viewer" / "case.js"
    start, _, _ = path.read_text().rpartition("}")
    notes = {"threshold": 0.4, "fitted_threshold": 0.75, "refiner_edits": {"added": 12, "removed": 3}}
    path.write_text(f"{start}, {json.dumps(notes)[1:-1]}}});\n")
    found = drive(browser, tilted, tmp_path, script)
    assert found["hidden"] == [False, False]
    assert found["fitted"] == "fitted: 0.75"
    assert found["edits"] == "The refiner added 12 and removed 3 voxels."
    assert found["lesions"].startswith("2 lesions, ")
    unmoved = drive(browser, tilted, tmp_path, 'return $("lesions").textContent;')
    assert unmoved.endswith(" mL in the predicted mask, cut at 0.4")


@pytest.mark.slow
def test_the_threshold_changes_what_is_marked(browser: str, folder: Path, tmp_path: Path) -> None:
    marked, bare = (show(browser, folder, tmp_path, heatmap=0, mask=0.6, slice=4, threshold=t) for t in (0.85, 0.95))
    assert "1 lesion, " in marked.document
    assert "0 lesions, 0.00 mL at probability 0.950 or more" in bare.document
    assert coloured(marked.picture).sum() > 5000
    assert not coloured(bare.picture).any()


def test_nothing_is_written_without_a_case(tmp_path: Path) -> None:
    write_json(tmp_path / "cases" / "unread.json", {"case": "unread", "case_likelihood": 0.0, "candidates": []})
    assert write_page(tmp_path) is None
    assert [path.name for path in tmp_path.iterdir()] == ["cases"]


def test_a_threshold_marks_the_same_voxels_on_the_stored_levels() -> None:
    probability = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32)
    probability[0, 0] = np.arange(6) / 5
    levels = _as_bytes(Layer("probability", "probability", probability))
    for level in range(1, PROBABILITY_LEVELS + 1):
        assert np.array_equal(levels >= level, probability >= np.float32(level / PROBABILITY_LEVELS))


def test_the_page_fetches_nothing_from_the_network(folder: Path) -> None:
    page = (folder / "viewer.html").read_text() + (folder / "viewer" / "viewer.js").read_text()
    assert "http" not in page
    for source in re.findall(r'src="([^"]+)"', page):
        assert (folder / source).is_file()


def test_the_vendored_library_is_the_recorded_release_with_its_licence() -> None:
    record = read_json(ASSETS / "niivue.json")
    library = (ASSETS / "niivue.js").read_bytes()
    assert hashlib.sha256(library).hexdigest() == record["sha256"]
    assert len(library) < 3 << 20
    assert record["licence"] == "BSD-2-Clause"
    assert "BSD 2-Clause" in (ASSETS / "LICENSE.niivue").read_text()


def test_names_cannot_break_out_of_the_scripts(folder: Path) -> None:
    script = (folder / "viewer" / "cases.js").read_text()
    assert script.count("\n") == 1
    assert script.startswith("window.PREDICTION = {")
    assert script.rstrip().endswith("};")


@pytest.mark.slow
def test_what_was_said_where_it_is_and_the_mask_without_it(browser: str, tmp_path: Path) -> None:
    folder = tmp_path / "told"
    (folder / "viewer").mkdir(parents=True)
    like = sitk.Image(SHAPE[::-1], sitk.sitkFloat32)
    like.SetSpacing(SPACING[::-1])
    lesion, said = (ball(SHAPE, (6, 20, x), 8.0, SPACING) for x in (36, 10))
    layers = [
        Layer("T2W", "channel", np.random.default_rng(0).random(SHAPE)),
        Layer("sentence 1", "sentence", said.astype(np.float32)),
        Layer("without text", "without", said),
        Layer("probability", "probability", 0.9 * lesion),
        Layer("mask", "mask", lesion),
    ]
    change = {"volume_change_ml": -0.25, "likelihood_change": 0.125, "contradicted": True}
    text = {"sentences": [{"sentence": "lesion <b>on</b> the right", **change}]}
    write_case(folder / "viewer" / "a.js", "a", layers, [], like, {"text": text})
    write_json(folder / "cases" / "a.json", {"case": "a", "case_likelihood": 0.9, "candidates": []})
    write_page(folder)
    plain, map_shown, without = (
        show(browser, folder, tmp_path, mask=0, slice=7, **view) for view in ({}, {"sentence": 1}, {"without": 0.8})
    )
    assert (
        "“lesion &lt;b&gt;on&lt;/b&gt; the right”: -0.25 mL, likelihood +0.13, the image contradicts it"
        in plain.document
    )
    for shown in (map_shown, without):
        changed = np.abs(shown.picture - plain.picture).max(2)[60:700, 280:] > 40
        columns = np.flatnonzero(changed.any(axis=0))
        # The patient's right is on the screen's left (radiological convention).
        assert changed.sum() > 500
        assert columns.mean() < changed.shape[1] / 2
