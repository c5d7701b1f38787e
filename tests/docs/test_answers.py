"""docs/evidence.md, README's claim and the figure are computed from the tables of cases, and say what these say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from nnunetv2_textguided.evaluation.case_files import CaseFile
from nnunetv2_textguided.evaluation.difference import Difference
from nnunetv2_textguided.evaluation.trainings import Fold, Trainings
from tests.datasets import REPOSITORY
from tests.scripts import load_script

FOLDER = REPOSITORY / "docs" / "evidence"
PAGE = (REPOSITORY / "docs" / "evidence.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script(FOLDER / "answers.py")


@pytest.fixture
def copies(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The script works on copies of page, README and figure."""
    made = {}
    for name in ("PAGE", "README", "FIGURE"):
        made[name] = tmp_path / getattr(script, name).name
        shutil.copy(getattr(script, name), made[name])
        monkeypatch.setattr(script, name, made[name])
    return made


def test_the_page_the_readme_and_the_figure_are_what_the_tables_say(script: ModuleType) -> None:
    assert script.main(["--check"]) == 0, "run: python docs/evidence/answers.py"


def test_the_readme_s_claim_is_the_page_s_first_sentences() -> None:
    marks = "<!-- claim: begin -->", "<!-- claim: end -->"
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    claims = [text.split(marks[0])[1].split(marks[1])[0] for text in (PAGE, readme)]
    assert claims[0] == claims[1]
    assert len(claims[0].split()) > 50
    before = PAGE.split(marks[0])[0].strip()
    assert before.startswith("# ")
    assert "\n" not in before, "nothing but the title"


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("PAGE", "+0.022 [+0.014", "+0.023 [+0.014"), ("README", "is not shown", "is shown"), ("FIGURE", ", shown", "")],
)
def test_a_changed_number_or_word_is_told_and_written_anew(
    script: ModuleType, copies: dict[str, Path], capsys: pytest.CaptureFixture[str], name: str, old: str, new: str
) -> None:
    before = copies[name].read_text(encoding="utf-8")
    assert old in before
    copies[name].write_text(before.replace(old, new, 1), encoding="utf-8")
    assert script.main(["--check"]) == 1
    assert copies[name].name in capsys.readouterr().out
    assert script.main([]) == 0
    if name != "FIGURE":  # another matplotlib draws another file
        assert copies[name].read_text(encoding="utf-8") == before
    assert script.main(["--check"]) == 0


def difference(*folds: float) -> Difference:
    """Of one training a fold, in which patients do not count."""
    none = np.zeros((1, 10))
    return Difference(
        tuple(Fold(i, 10, Trainings(np.array([v]), none), Trainings(np.zeros(1), none)) for i, v in enumerate(folds))
    )


@pytest.mark.parametrize(
    ("asked", "folds", "p", "answer"),
    [
        ({}, (0.1, 0.11, 0.09), 0.01, "shown"),
        ({}, (0.1, 0.11, 0.09), 0.2, "not settled"),
        ({}, (-0.1, -0.11, -0.09), 0.01, "harm"),
        ({}, (0.1, -0.1, 0.0), 0.9, "not shown"),
        ({"margin": 0.02}, (0.0, 0.001, -0.001), 0.01, "shown"),
        ({"margin": 0.02}, (0.0, 0.03, -0.03), 0.5, "not shown"),
        ({"margin": 0.02}, (-0.1, -0.11, -0.09), 0.01, "harm"),
    ],
)
def test_an_answer_follows_from_its_interval(
    script: ModuleType, asked: dict[str, float], folds: tuple[float, ...], p: float, answer: str
) -> None:
    assert script.Answer(asked, difference(*folds), p).answer == answer


def test_the_answers_are_corrected_and_what_was_not_run_is_named(script: ModuleType) -> None:
    found = script.answers()
    known = [one for one in found.values() if one.found is not None]
    assert len(known) >= 15
    assert all(one.p >= script._p(one) for one in known)
    for counts in (True, False):
        family = [one for one in known if ("protocol" in one.asked) == counts]
        assert len(family) == (8 if counts else len(known) - 8)
        assert max(one.p / script._p(one) for one in family if script._p(one) > 0) == pytest.approx(len(family))
    for one in found.values():
        assert ("not run yet" in one.row()) == (one.found is None)
    protocol = (FOLDER / "protocol.md").read_text(encoding="utf-8").split("## Comparisons that count")[1]
    numbers = {one.asked.get("protocol") for one in found.values()} - {None}
    assert numbers == set(range(1, 9))
    assert all(f"\n| {number} |" in protocol for number in numbers)


def test_the_page_says_what_the_protocol_s_own_trainings_give_for_question_2(script: ModuleType) -> None:
    asked = script.answers()["stock"].asked
    cases = script.read_cases("lesion")
    own = cases.rows[(cases.rows.model != asked["model"]) | cases.rows.repeat.isin(["1", "2"])]
    found = CaseFile(own, cases.price).at_thresholds(asked["model"], asked["baseline"]).fitted
    assert found.trainings == (10, 10)
    assert script.text(found) in PAGE
    assert found.ends.low < 0


def test_questions_are_of_models_that_are_known() -> None:
    asked = json.loads((FOLDER / "answers.json").read_text(encoding="utf-8"))
    assert len({one["id"] for one in asked}) == len(asked)
    titles = [json.loads(path.read_text(encoding="utf-8")) for path in FOLDER.glob("titles*.json")]
    known = {name for one in titles for names in one.values() for name in names}
    of_cases = [one for one in asked if one["measure"] in ("fitted", "half", "change") and "protocol" not in one]
    assert {one[side] for one in of_cases for side in ("model", "baseline")} <= known


def test_the_page_has_the_channels_table() -> None:
    rows = pd.read_csv(FOLDER / "thresholds.csv")
    lines = PAGE.split("<!-- channels: begin -->")[1].split("<!-- channels: end -->")[0].splitlines()
    (line,) = [one for one in lines if one.startswith("| without HBV |")]
    for name, cell in zip(("dropout", "default"), line.split("|")[2:4], strict=True):
        own = rows[(rows.model == f"{name}_without_HBV") & (rows.lesions > 0)]
        fold = own.groupby("fold").agg(dice=("dice", "mean"), cases=("case", "nunique"))
        assert cell.split(",")[0].strip() == f"{np.average(fold.dice, weights=fold.cases):.3f}"


def test_subgroups_divide_the_cases_of_the_tables(script: ModuleType) -> None:
    facts = pd.read_csv(FOLDER / "cases.csv").set_index("case")
    rows = pd.read_csv(FOLDER / "thresholds.csv").drop_duplicates("case").set_index("case")
    assert set(facts.index) == set(rows.index)
    assert ((facts.volume_ml > 0) == (rows.lesions > 0).reindex(facts.index)).all()
    voxels = rows.curve.str.split("/", expand=True)[[1, 2]].astype(float)
    assert facts.volume_ml.to_numpy() == pytest.approx((voxels[1] * voxels[2]).reindex(facts.index), abs=1e-4)
    positive = set(facts.index[facts.volume_ml > 0])
    groups = script.subgroups.groups()
    for kind in ("volume", "zone", "ISUP", "centre"):
        chosen = [group for name, group in groups.items() if kind in name]
        assert len(chosen) >= 2
        assert sorted(case for group in chosen for case in group) == sorted(positive), kind
