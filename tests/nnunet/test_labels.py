"""Labels: read in one way, refused in words where no network can be trained on them, and files named after them."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.nnunet.labels import file_names, read_labels, trainable_labels


def described(**labels: Any) -> dict[str, Any]:
    return {"labels": labels}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"background": 0, "PZ": 1, "csPCa": 3}, "found 0, 1, 3"),
        ({"background": 0, "csPCa": 2}, "found 0, 2"),
        ({"background": 0, "a": 1, "b": 1}, "found 0, 1, 1"),
        ({"background": 0, "a": 1, "ignore": 5}, "'ignore' must have the value after the highest, 2; it has 5"),
        ({"background": 0, "a": 1, "b": 3, "ignore": 2}, "found 0, 1, 3"),
        ({"a": 1}, "no label 'background'"),
        ({"background": 1, "a": 2}, "no label 'background'"),
        ({"background": 0, "a": [1, -1]}, "must not be negative"),
        ({"0": "background", "1": "csPCa"}, "value to name, as nnU-Net v1"),
        ({"background": 0, "a": "1"}, "'a' has the value '1'"),
        ({"background": 0, "a": True}, "'a' has the value True"),
        ({"background": 0, "a": 1.5}, "'a' has the value 1.5"),
        ({"background": 0}, "no foreground label"),
    ],
)
def test_labels_on_which_nothing_can_be_trained_are_refused_in_words(labels: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        trainable_labels({"labels": labels}, "here/dataset.json")
    assert message in caught.value.what
    assert str(caught.value.where).startswith("here/dataset.json")
    assert caught.value.remedy


def test_labels_of_version_one_are_turned_in_the_remedy() -> None:
    with pytest.raises(DataError) as caught:
        read_labels({"labels": {"0": "background", "1": "csPCa"}})
    assert '{"background": 0, "csPCa": 1}' in str(caught.value.remedy)


def test_valid_labels_are_read_as_nnunet_does() -> None:
    classes = trainable_labels(described(background=0, b=2, a=1, ignore=3))
    assert (classes.foreground, classes.regions, classes.map_values) == (("a", "b"), False, {0, 1, 2, 3})
    regions = trainable_labels(described(background=0, whole=[1, 4], core=4))
    assert (regions.foreground, regions.regions, regions.map_values) == (("whole", "core"), True, {0, 1, 4})


def test_files_named_after_labels_never_collide() -> None:
    labels = ["zone/PZ", "zone PZ", "zone_PZ", "Zone_PZ", "zone_PZ_2", "csPCa", "..", "/", "vörher"]
    names = file_names(labels)
    assert list(names) == labels
    assert len({name.casefold() for name in names.values()}) == len(labels)
    assert all("/" not in name and " " not in name and not name.startswith(".") for name in names.values())
    assert (names["zone_PZ"], names["zone_PZ_2"], names["csPCa"]) == ("zone_PZ", "zone_PZ_2", "csPCa")
    assert names == file_names(labels)


def test_an_uncaught_error_of_ours_is_its_message_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nnunetv2_textguided.errors import print_without_traceback

    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    print_without_traceback()
    sys.excepthook(DataError, DataError("The label is odd.", where="x", remedy="Mend it."), None)
    assert capsys.readouterr().err == "error: The label is odd.\n  where: x\n  what to do: Mend it.\n"
    sys.excepthook(ValueError, ValueError("theirs"), None)
    assert "ValueError: theirs" in capsys.readouterr().err
    other = monkeypatch.setattr(sys, "excepthook", print) or sys.excepthook
    print_without_traceback()
    assert sys.excepthook is other
