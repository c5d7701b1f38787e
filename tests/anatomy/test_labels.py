"""How dataset.json describes anatomy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nnunetv2_textguided.anatomy.labels import anatomy_folder, anatomy_labels
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.text.dataset import prompted_names

LABELS = {"background": 0, "csPCa": 1}


def test_structures_come_in_the_order_of_their_values() -> None:
    content = {"labels": LABELS, "anatomy": {"transition zone": 2, "peripheral zone": 1}}
    assert list(anatomy_labels(content)) == ["peripheral zone", "transition zone"]
    assert prompted_names(content, anatomy=True) == ["csPCa", "peripheral zone", "transition zone"]
    assert prompted_names(content, anatomy=False) == ["csPCa"]


def test_most_data_sets_have_none() -> None:
    assert anatomy_labels({"labels": LABELS}) == {}


@pytest.mark.parametrize(
    ("anatomy", "message"),
    [
        ({}, "'anatomy' is {}"),
        (["peripheral zone"], "'anatomy' is"),
        ({"peripheral zone": 0}, "has the value 0"),
        ({"peripheral zone": True}, "has the value True"),
        ({"peripheral zone": 256}, "has the value 256"),
        ({"peripheral zone": "1"}, "has the value '1'"),
        ({"peripheral zone": 1, "transition zone": 1}, "share a value"),
        ({"csPCa": 1}, "both a label and anatomy"),
    ],
)
def test_a_wrong_description_says_what_is_wrong(anatomy: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as raised:
        anatomy_labels({"labels": LABELS, "anatomy": anatomy}, "there/dataset.json")
    assert "there/dataset.json" in str(raised.value)


def test_the_folder_lies_beside_the_preprocessed_cases() -> None:
    cases = Path("Dataset001_X") / "nnUNetPlans_3d_fullres"
    assert anatomy_folder(cases) == Path("Dataset001_X") / "nnUNetPlans_3d_fullres_anatomy"
