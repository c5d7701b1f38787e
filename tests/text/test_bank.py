from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nnunetv2_textguided.errors import PromptBankError
from nnunetv2_textguided.text.bank import MAX_CHARACTERS, MAX_PROMPTS, PromptBank, bank_names, load_bank
from nnunetv2_textguided.text.choose import choose_bank


def write(folder: Path, content: Any) -> str:
    path = folder / "bank.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


def test_all_four_banks_ship_and_load() -> None:
    assert bank_names() == ["default", "generic", "paper", "zones"]
    for name in bank_names():
        assert load_bank(name).name == name


def test_paper_bank_is_the_single_prompt_without_context() -> None:
    assert load_bank("paper").prompts == ("prostate lesion",)


def test_no_shipped_prompt_is_negated_or_repeated() -> None:
    for name in bank_names():
        prompts = load_bank(name).prompts
        assert len(set(prompts)) == len(prompts)
        assert not [p for p in prompts if {"no", "not", "without"} & set(p.lower().split())]


def test_prompts_stand_in_label_order_with_context_last() -> None:
    bank = PromptBank("b", {"x": ("one", "two"), "y": ("three",)}, ("rest",))
    assert bank.prompts == ("one", "two", "three", "rest")
    assert bank.prompt_label == (0, 0, 1, -1)


def test_for_labels_keeps_the_data_sets_order_and_names_what_the_bank_does_not() -> None:
    bank = PromptBank("b", {"x": ("one",), "y": ("two",)}, ("rest",)).for_labels(["left_kidney", "y", "x"])
    assert bank.labels == ("left_kidney", "y", "x")
    assert bank.prompts == ("left kidney", "two", "one", "rest")


def test_labels_match_by_alias_regardless_of_case_and_underscores() -> None:
    zones = load_bank("zones")
    bank = zones.for_labels(["pz", "Transition-Zone", "CSPCA"])
    assert bank.class_prompts["pz"] == zones.class_prompts["peripheral_zone"]
    assert bank.class_prompts["Transition-Zone"] == zones.class_prompts["transition_zone"]
    assert bank.class_prompts["CSPCA"] == zones.class_prompts["csPCa"]


def test_two_labels_never_share_the_prompts_of_one_entry() -> None:
    bank = load_bank("default").for_labels(["lesion", "csPCa"])
    assert bank.class_prompts["csPCa"] == load_bank("default").class_prompts["csPCa"]
    assert bank.class_prompts["lesion"] == ("lesion",)


@pytest.mark.parametrize("labels", [[], ["a", "a"], [" "]])
def test_for_labels_refuses_labels_that_cannot_be_prompted(labels: list[str]) -> None:
    with pytest.raises(PromptBankError):
        load_bank("generic").for_labels(labels)


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        (["csPCa"], "default"),
        (["lesion"], "default"),
        (["PZ", "TZ"], "zones"),
        (["peripheral_zone", "transition_zone", "csPCa"], "zones"),
        (["prostate"], "zones"),
        (["liver", "tumor"], "generic"),
        (["lesion", "csPCa"], "generic"),
    ],
)
def test_bank_is_chosen_that_names_every_label(labels: list[str], name: str) -> None:
    bank, _ = choose_bank(None, labels)
    assert (bank.name, list(bank.labels)) == (name, labels)


def test_organless_label_is_taken_as_prostate_lesion_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    choose_bank(None, ["Tumor"])
    assert "'Tumor' is taken as prostate lesion" in caplog.text
    caplog.clear()
    choose_bank(None, ["csPCa"])
    assert not caplog.records


def test_hash_ignores_whitespace_and_unicode_form_but_not_order_or_words() -> None:
    base = PromptBank("b", {"x": ("one  prompt", "über")}, ("rest",))
    assert base.sha256 == PromptBank("other", {"x": (" one\tprompt\n", "u\u0308ber")}, ("rest ",)).sha256
    changed = [
        PromptBank("b", {"x": ("über", "one prompt")}, ("rest",)),
        PromptBank("b", {"x": ("one prompt",)}, ("über", "rest")),
        PromptBank("b", {"y": ("one prompt", "über")}, ("rest",)),
        PromptBank("b", {"x": ("One prompt", "über")}, ("rest",)),
    ]
    assert len({base.sha256, *(b.sha256 for b in changed)}) == 5


def test_file_may_give_text_lists_or_objects(tmp_path: Path) -> None:
    content = {
        "labels": {"a": "one", "b": ["two", "three"], "c": {"prompts": "four", "aliases": ["see"]}},
        "context": "rest",
    }
    bank = load_bank(write(tmp_path, content))
    assert bank.name == "bank"
    assert bank.prompts == ("one", "two", "three", "four", "rest")
    assert bank.match(["SEE"]) == {"SEE": "c"}


def test_every_template_makes_a_prompt_of_every_prompt_and_labels_may_have_their_own(tmp_path: Path) -> None:
    content = {
        "labels": {"a": ["x", "y"], "b": {"prompts": ["z"], "templates": ["only {}"]}},
        "context": ["rest"],
        "templates": ["{}", "MRI of {}"],
    }
    bank = load_bank(write(tmp_path, content))
    assert bank.class_prompts == {"a": ("x", "MRI of x", "y", "MRI of y"), "b": ("only z",)}
    assert bank.context_prompts == ("rest", "MRI of rest")


def test_a_bank_written_as_json_reads_back_equal(tmp_path: Path) -> None:
    bank = load_bank("zones").for_labels(["TZ", "csPCa"])
    assert load_bank(write(tmp_path, bank.to_json())) == bank


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not valid JSON"),
        ("[1]", "must be a JSON object, not a list"),
        ("{}", "'labels' must be"),
        ('{"labels": {"a": ["x"], "a": ["y"]}}', "the key 'a' occurs twice"),
        ('{"labels": {"a": []}}', "list is empty"),
        ('{"labels": {"a": {}}}', "list is empty"),
        ('{"labels": {"a": [1]}}', "Expected text, got a number"),
        ('{"labels": {"a": null}}', "Expected text or a list of texts, got null"),
        ('{"labels": {"a": "  "}}', "A prompt is empty"),
        ('{"labels": {"a": "\\ud800"}}', "U+D800"),
        ('{"labels": {"a": "x\\u0000"}}', "U+0000"),
        ('{"labels": {"a": "x"}, "contexts": []}', "did you mean 'context'?"),
        ('{"labels": {"a": {"prompt": "x"}}}', "did you mean 'prompts'?"),
        ('{"labels": {"a": "x"}, "templates": ["no place"]}', "exactly once"),
        ('{"labels": {"a": "x"}, "templates": []}', "list is empty"),
        ('{"labels": {"a": "x", "A": "y"}}', "names both"),
        ('{"labels": {"a": "x"}, "name": 3}', "'name' must be text"),
        (json.dumps({"labels": {"a": "x" * (MAX_CHARACTERS + 1)}}), "characters, more than"),
        (json.dumps({"labels": {"a": ["x"] * (MAX_PROMPTS + 1)}}), "prompts, more than"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_bad_files_are_refused_with_the_reason(tmp_path: Path, content: str, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(PromptBankError) as error:
        load_bank(path)
    assert message in str(error.value)
    assert "bank" in str(error.value.where)


def test_unknown_bank_names_the_shipped_ones() -> None:
    with pytest.raises(PromptBankError, match="default, generic, paper, zones"):
        load_bank("defautl")


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PromptBankError, match="does not exist"):
        load_bank(str(tmp_path / "none.json"))
