"""Cases that are learned from and never validated: how many there are, and where their labels come from."""

from __future__ import annotations

from pathlib import Path

from nnunetv2_textguided.benchmark.report.collect import Collected
from nnunetv2_textguided.benchmark.study import Study
from nnunetv2_textguided.nnunet.folders import Folders

SPLITS = [{"train": ["a", "c", "d"], "val": ["b"]}, {"train": ["b", "c", "e"], "val": ["a"]}]


def _collected(root: Path, splits: list[dict[str, list[str]]]) -> Collected:
    study = Study("Dataset001_X", "3d_fullres", ("t",), ("p",), (0,))
    return Collected(study, Folders(None, root, root), {}, splits, {}, {}, {}, {}, ())


def test_cases_without_an_outline_are_counted_by_the_origin_of_their_labels(tmp_path: Path) -> None:
    (tmp_path / "Dataset001_X").mkdir()
    rows = ["case,patient,origin", "a,1,annotated", "b,2,annotated", "c,3,report", "d,4,report without lesion"]
    (tmp_path / "Dataset001_X" / "cases.csv").write_text("\n".join(rows))
    found = _collected(tmp_path, SPLITS).learned_only
    assert found == {"report": 1, "report without lesion": 1, "origin not known": 1}


def test_without_such_cases_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert not _collected(tmp_path, [{"train": ["a"], "val": ["b"]}, {"train": ["b"], "val": ["a"]}]).learned_only
