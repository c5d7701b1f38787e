"""The panel of the refiner's change: its colours mean logits, and a change that moves nothing shows nothing."""

from __future__ import annotations

import base64
import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from nnunetv2_textguided.demo.figure import _draw_scale
from nnunetv2_textguided.demo.film import change_strip
from nnunetv2_textguided.demo.report_case import change_limit


def cases(*changes: float) -> list[Any]:
    return [
        SimpleNamespace(effect=SimpleNamespace(change=np.full((2, 3, 4), change, np.float32))) for change in changes
    ]


@pytest.mark.parametrize(
    ("changes", "limit"),
    [((), 1), ((0.0,), 1), ((-4.8e-5, 3e-5), 1), ((0.4,), 1), ((1.2,), 2), ((0.1, -4.0), 5), ((30.0,), 50)],
)
def test_the_scale_ends_at_a_logit_or_more(changes: tuple[float, ...], limit: float) -> None:
    assert change_limit(cases(*changes)) == limit


def test_the_picture_says_what_its_colours_mean() -> None:
    figure = Figure()
    axes = figure.add_subplot()
    _draw_scale(axes, 2.0)
    (bar,) = axes.child_axes
    figure.canvas.draw()
    assert [label.get_text() for label in bar.get_xticklabels()] == ["-2", "0", "+2 logits"]
    assert bar.get_xlim() == (-2, 2)


def test_colours_are_as_strong_as_the_change() -> None:
    change = np.array([[[-2.0, -1.0, -4.8e-5, 0.0, 4.8e-5, 1.0, 2.0]]], np.float32)
    uri = change_strip(change, 2.0)
    image = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGBA")
    red, _, blue, opacity = np.moveaxis(np.asarray(image).astype(int)[0], -1, 0)
    assert opacity[2:5].tolist() == [0, 0, 0]
    assert opacity[[0, 6]].min() > 230
    assert opacity[[1, 5]] == pytest.approx(opacity[[0, 6]] / 2, abs=6)
    assert all(blue[:2] > red[:2])
    assert all(red[5:] > blue[5:])
