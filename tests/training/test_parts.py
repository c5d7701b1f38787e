"""Logbook, watch, consistency and text controls."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Literal

import pytest
import torch
from nnunetv2.training.logging.nnunet_logger import MetaLogger

from nnunetv2_textguided.errors import SettingsError, TrainingError
from nnunetv2_textguided.training.consistency import check_model_folder, describe_network, differences
from nnunetv2_textguided.training.logbook import OWN, PREFIX, Logbook
from nnunetv2_textguided.training.text import derangement, random_like, spread
from nnunetv2_textguided.training.watch import NonFiniteWatch
from tests.networks import architecture, block


def record(value: float = 1.0) -> dict[str, object]:
    return {key: "align" if key == "phase" else value for key in OWN}


def log_epoch(logger: MetaLogger, logbook: Logbook, epoch: int) -> None:
    for key in ("train_losses", "val_losses", "mean_fg_dice"):
        logger.log(key, 0.5, epoch)
    logbook.log(record(epoch), epoch)


def test_the_csv_has_one_row_per_finished_epoch(tmp_path: Path) -> None:
    logger = MetaLogger(str(tmp_path), False)
    logbook = Logbook(logger)
    for epoch in range(3):
        log_epoch(logger, logbook, epoch)
    logbook.write_csv(tmp_path / "log.csv")
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert [float(row["gate_fraction"]) for row in rows] == [0, 1, 2]
    assert rows[0]["phase"] == "align"
    assert float(rows[2]["ema_fg_dice"]) == 0.5


def test_other_loggers_of_nnunet_get_the_same_values(tmp_path: Path) -> None:
    """Weights & Biases is such a logger; this one stands in its place."""

    class Recorder:
        def __init__(self) -> None:
            self.seen: dict[str, object] = {}

        def log(self, key: str, value: object, step: int) -> None:
            self.seen[key] = (value, step)

    logger, recorder = MetaLogger(str(tmp_path), False), Recorder()
    logger.loggers.append(recorder)
    log_epoch(logger, Logbook(logger), 0)
    assert {key for key in recorder.seen if key.startswith(PREFIX)} == {PREFIX + key for key in OWN}


def test_a_checkpoint_of_a_stock_or_older_training_is_padded(tmp_path: Path) -> None:
    logger = MetaLogger(str(tmp_path), False)
    logbook = Logbook(logger)
    logger.load_checkpoint({k: [0.5] * 4 for k in MetaLogger(str(tmp_path), False).get_checkpoint()})
    logbook.align_with(4)
    log_epoch(logger, logbook, 4)
    values = logger.get_value(PREFIX + "alpha", None)
    assert all(math.isnan(v) for v in values[:4])
    assert values[4:] == [4]


def test_a_log_that_is_ahead_of_the_checkpoint_is_cut(tmp_path: Path) -> None:
    logger = MetaLogger(str(tmp_path), False)
    logbook = Logbook(logger)
    for epoch in range(5):
        log_epoch(logger, logbook, epoch)
    logbook.align_with(2)
    assert logger.get_value(PREFIX + "alpha", None) == [0, 1]


def test_a_loss_that_stays_non_finite_stops_and_says_where() -> None:
    watch = NonFiniteWatch(patience=3)
    losses = {"loss": math.nan, "loss_seg": 0.5, "loss_heat": math.inf}
    watch.update(True, losses, 7, ["case_1"])
    watch.update(False, {}, 7, [])
    watch.update(True, losses, 7, ["case_1"])
    watch.update(True, losses, 7, ["case_1"])
    with pytest.raises(TrainingError) as caught:
        watch.update(True, losses, 7, ["case_1", "case_2"])
    message = str(caught.value)
    assert "component: loss, loss_heat" in message
    assert "epoch 7, cases case_1, case_2" in message
    assert "what to do" in message


def plans(**changes: object) -> dict[str, object]:
    sizes = {"data_identifier": "p_3d", "batch_size": 2, "patch_size": [8, 32, 32], "batch_dice": False}
    configuration = {**sizes, "architecture": architecture(), "text_guidance": block(), **changes}
    return {"dataset_name": "Dataset901_Tiny", "plans_name": "p", "configurations": {"3d": configuration}}


def test_equal_networks_do_not_differ_wherever_the_text_was_read_from() -> None:
    here = describe_network(plans(), "3d")
    there = describe_network(plans(text_guidance=block(source="elsewhere")), "3d")
    assert list(differences(here, there)) == []
    other_weight = block({"alignment": {"weight": 0.9}, "schedule": {"warmup": 0.0}})
    assert list(differences(here, describe_network(plans(text_guidance=other_weight), "3d"))) == []
    less_memory = block({"encoders": {"checkpointing": "stages"}})
    assert list(differences(here, describe_network(plans(text_guidance=less_memory), "3d"))) == []


def test_differences_name_the_key() -> None:
    other = block({"refiner": {"tau": 0.9}}, encoder={"id": "another"})
    found = list(differences(describe_network(plans(), "3d"), describe_network(plans(text_guidance=other), "3d")))
    assert found == [
        "refiner.tau: 0.3 here, 0.9 there",
        'text.encoder.id: "test" here, "another" there',
    ]


def test_a_second_fold_with_another_network_is_refused(tmp_path: Path) -> None:
    import json

    (tmp_path / "fold_0").mkdir()
    (tmp_path / "plans.json").write_text(json.dumps(plans()))
    other = plans(text_guidance=block({"encoders": {"width": 0.5}}))
    check_model_folder(str(tmp_path), other, "3d")  # nothing has been trained here yet
    (tmp_path / "fold_0" / "checkpoint_final.pth").touch()
    check_model_folder(str(tmp_path), plans(), "3d")
    with pytest.raises(TrainingError, match=r"encoders\.width: 0\.5 here, 1\.0 there"):
        check_model_folder(str(tmp_path), other, "3d")


@pytest.mark.parametrize("count", [2, 3, 7])
def test_shuffling_leaves_no_prompt_its_own_embedding(count: int) -> None:
    order = derangement(count, seed=0)
    assert sorted(order.tolist()) == list(range(count))
    assert not (order == torch.arange(count)).any()
    assert torch.equal(order, derangement(count, seed=0))
    with pytest.raises(SettingsError, match="cannot be shuffled"):
        derangement(1, seed=0)


def test_random_text_keeps_shape_and_lengths_and_nothing_else() -> None:
    original = 3 * torch.nn.functional.normalize(torch.randn(5, 384), dim=1)
    noise = random_like(original, seed=1)
    torch.testing.assert_close(noise.norm(dim=1), original.norm(dim=1))
    assert torch.nn.functional.cosine_similarity(noise, original).abs().max() < 0.3


def alike(count: int = 6, dim: int = 16) -> torch.Tensor:
    """Unit vectors with cosines of about 0.9, as an encoder gives for prompts of one domain."""
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(dim, generator=generator)
    return torch.nn.functional.normalize(shared + 0.3 * torch.randn(count, dim, generator=generator), dim=1)


def cosines(embeddings: torch.Tensor) -> torch.Tensor:
    unit = torch.nn.functional.normalize(embeddings, dim=1)
    count = len(unit)
    return (unit @ unit.T)[~torch.eye(count, dtype=torch.bool)]


def test_prompts_that_an_encoder_puts_close_together_are_spread() -> None:
    raw = alike()
    assert torch.equal(spread(raw, "raw"), raw)
    centred, whitened = spread(raw, "centred"), spread(raw, "whitened")
    assert cosines(raw).min() > 0.7
    assert cosines(centred).max() < 0.5
    # As far apart as six vectors without a mean can be: the corners of a simplex.
    torch.testing.assert_close(cosines(whitened), torch.full((30,), -1 / 5), rtol=0, atol=1e-5)
    for spreaded in (centred, whitened):
        torch.testing.assert_close(spreaded.norm(dim=1), torch.ones(6))
        # What a prompt is nearest to in meaning does not turn into its opposite.
        assert ((spreaded * (raw - raw.mean(dim=0))).sum(dim=1) > 0).all()


@pytest.mark.parametrize("geometry", ["centred", "whitened"])
def test_one_prompt_and_equal_prompts_cannot_be_spread(geometry: Literal["centred", "whitened"]) -> None:
    one = alike(1)
    assert torch.equal(spread(one, geometry), one)
    twice = alike(3)[[0, 0, 1, 2]]
    spreaded = spread(twice, geometry)
    torch.testing.assert_close(spreaded[0], spreaded[1])
    assert torch.isfinite(spread(one.expand(3, -1), geometry)).all()


def test_labels_come_in_the_order_of_the_segmentation_heads() -> None:
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    from nnunetv2_textguided.nnunet.labels import read_labels

    classes = {"background": 0, "tumour": 2, "organ": 1, "ignore": 3}
    assert read_labels({"labels": classes}).foreground == ("organ", "tumour")
    assert LabelManager(classes, None).foreground_labels == [1, 2]
    regions = {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}
    assert read_labels({"labels": regions}).foreground == ("whole", "core")
    assert LabelManager(regions, [1, 2]).foreground_regions == [(1, 2), (2,)]
