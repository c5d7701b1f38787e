"""The trainer in this process, on a planned tiny data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_textguided import training
from nnunetv2_textguided.errors import TrainingError
from nnunetv2_textguided.settings.presets import resolve
from nnunetv2_textguided.training import nnUNetTrainerAlignRefine

Make = Callable[..., nnUNetTrainerAlignRefine]


def batch(trainer: nnUNetTrainerAlignRefine, *, foreground: bool = True, seed: int = 0) -> dict[str, Any]:
    """A synthetic batch in the data loader's layout."""
    generator = torch.Generator().manual_seed(seed)
    patch = trainer.configuration_manager.patch_size
    target = torch.zeros(2, 1, *patch, dtype=torch.int16)
    if foreground:
        target[..., patch[-2] // 4 : patch[-2] // 2, patch[-1] // 4 : patch[-1] // 2] = 1
    data = torch.randn(2, trainer.num_input_channels, *patch, generator=generator) + 2 * target
    scales = trainer._get_deep_supervision_scales()
    targets = [
        torch.nn.functional.interpolate(target.float(), [round(n * s) for n, s in zip(patch, scale, strict=True)])
        for scale in scales
    ]
    return {"data": data, "target": targets, "keys": ["case_a", "case_b"]}


ODD = {
    "one channel": {"channel_names": {"0": "T2W"}},
    "seven channels": {"channel_names": {str(i): f"c{i}" for i in range(7)}},
    "three classes, one of them unknown to the bank": {
        "labels": {"background": 0, "peripheral zone": 1, "transition zone": 2, "Läsion Ω": 3}
    },
    "twenty classes": {"labels": {"background": 0, **{f"structure {i}": i for i in range(1, 21)}}},
    "ignore label": {"labels": {"background": 0, "csPCa": 1, "ignore": 2}},
    "regions": {"labels": {"background": 0, "gland": [1, 2], "lesion": [2]}, "regions_class_order": [1, 2]},
    "regions and ignore label": {
        "labels": {"background": 0, "gland": [1, 2], "lesion": [2], "ignore": 3},
        "regions_class_order": [1, 2],
    },
}


@pytest.mark.parametrize(("asked", "used"), [("1", 1), ("9", 2), ("", 2), ("all", 2)])
def test_no_more_threads_than_asked_for(
    make_trainer: Make, monkeypatch: pytest.MonkeyPatch, asked: str, used: int
) -> None:
    """nnU-Net's command sets one for each processor, before it initialises the trainer."""
    trainer, before = make_trainer(), torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    torch.set_num_threads(2)
    try:
        trainer.initialize()
        assert torch.get_num_threads() == used
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("ignored", [False, True], ids=["", "foreground ignored, the paper's loss"])
def test_odd_data_sets_train_in_the_last_phase(make_trainer: Make, name: str, ignored: bool) -> None:
    loss = {"region": "focal_tversky", "voxel": "topk", "label_smoothing": 0.05} if ignored else {}
    trainer = make_trainer(dataset=ODD[name], block={"refiner": {"band": 1e9}, "segmentation_loss": loss})
    trainer.initialize()
    enter_phase(trainer, 9)
    given = batch(trainer)
    manager = trainer.label_manager
    if ignored and manager.has_ignore_label:
        given["target"] = [torch.where(t > 0, torch.full_like(t, manager.ignore_label), t) for t in given["target"]]
    if manager.has_regions:
        masks = [*manager.foreground_regions, *([manager.ignore_label] if manager.has_ignore_label else [])]
        given["target"] = [
            torch.cat([torch.isin(t, torch.tensor(np.atleast_1d(m)).float()) for m in masks], dim=1)
            for t in given["target"]
        ]
    outcome = trainer.train_step(given)
    assert np.isfinite(outcome["loss"])
    assert np.isfinite(outcome["terms"][:4]).all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in trainer.bare_network.parameters())
    with torch.no_grad():
        trainer.on_validation_epoch_start()
        assert np.isfinite(trainer.validation_step(given)["loss"])


def enter_phase(trainer: nnUNetTrainerAlignRefine, epoch: int) -> None:
    trainer.current_epoch = epoch
    trainer.logger.local_logger.my_fantastic_logging["lrs"] = [0.0] * epoch
    trainer.on_train_epoch_start()


def as_under_ddp(trainer: nnUNetTrainerAlignRefine) -> None:
    """Nothing is spared: DDP waits for the gradients of all parameters."""
    trainer.bare_network.requires_grad_(True)
    trainer.bare_network.refiner_waits = False


def test_the_complete_block_is_in_the_plans_that_are_saved(make_trainer: Make) -> None:
    trainer = make_trainer(block={"refiner": {"tau": 0.4}})
    saved = trainer.my_init_kwargs["plans"]["configurations"]["3d_fullres"]["text_guidance"]
    assert resolve(saved) == trainer.settings
    assert saved["refiner"]["tau"] == 0.4
    assert saved["text"]["resolved"]["labels"] == ["csPCa"]
    assert len(saved["text"]["resolved"]["file_sha256"]) == 64
    assert trainer.num_epochs == 10


def test_the_network_hears_the_embeddings(make_trainer: Make) -> None:
    trainer = make_trainer()
    trainer.initialize()
    assert trainer.text_guidance.text is not None
    assert torch.equal(trainer.bare_network.text_embeddings, trainer.text_guidance.text.pooled)
    assert trainer.bare_network.text_embeddings.norm(dim=1).min() > 0.99


def test_the_stock_network_takes_exactly_stock_nnunets_steps(make_trainer: Make) -> None:
    ours = make_trainer(training.nnUNetTrainerAlignRefine_StockNetwork)
    plans = {**ours.my_init_kwargs["plans"], "continue_training": False}
    stock = nnUNetTrainer(plans, "3d_fullres", 0, ours.dataset_json, torch.device("cpu"))
    stock.num_epochs = ours.num_epochs
    for trainer in (stock, ours):
        trainer.initialize()
        trainer.current_epoch = 1
        trainer.logger.local_logger.my_fantastic_logging["lrs"] = [0.0]
        trainer.on_train_epoch_start()
    with torch.no_grad():  # parts are built in another order, so one seed gives other weights
        for theirs, mine in zip(stock.network.parameters(), ours.network.parameters(), strict=True):
            theirs.copy_(mine)
    losses = [
        [float(trainer.train_step(batch(ours, seed=seed))["loss"]) for seed in range(3)] for trainer in (stock, ours)
    ]
    assert losses[0] == losses[1]
    assert losses[0][0] != losses[0][2]
    for theirs, mine in zip(stock.network.parameters(), ours.network.parameters(), strict=True):
        assert torch.equal(theirs, mine)


def test_a_step_copies_without_blocking_and_reads_back_once(
    make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer()
    trainer.initialize()
    given, copies, reads = batch(trainer), [], []
    mine = {id(tensor) for tensor in [given["data"], *given["target"]]}
    to, cpu = torch.Tensor.to, torch.Tensor.cpu

    def copy(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if id(tensor) in mine:
            copies.append(kwargs.get("non_blocking", False))
        return to(tensor, *args, **kwargs)

    def read(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        reads.append(tensor)
        return cpu(tensor, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "to", copy)
    monkeypatch.setattr(torch.Tensor, "cpu", read)
    trainer.train_step(given)
    assert copies == [True] * (1 + len(given["target"]))
    assert len(reads) == 1


def test_phases_set_weights_in_the_graph(make_trainer: Make) -> None:
    trainer = make_trainer()
    trainer.initialize()
    refiner, losses = trainer.bare_network.refiner, trainer.text_guidance.loss
    assert refiner is not None
    assert losses is not None
    enter_phase(trainer, 0)
    assert (float(losses.lambda_align), float(losses.lambda_heat), float(refiner.alpha)) == (0, 0, 0)
    enter_phase(trainer, 4)
    assert float(losses.lambda_align) == pytest.approx(trainer.settings.alignment.weight)
    enter_phase(trainer, 9)
    assert float(refiner.alpha) == 1


@pytest.mark.parametrize("epoch", [0, 3, 9])
@pytest.mark.parametrize("foreground", [True, False])
def test_a_step_in_each_phase_reaches_every_parameter(make_trainer: Make, epoch: int, foreground: bool) -> None:
    trainer = make_trainer(block={"refiner": {"band": 1e9}})
    trainer.initialize()
    enter_phase(trainer, epoch)
    as_under_ddp(trainer)
    for step in range(2):
        outcome = trainer.train_step(batch(trainer, foreground=foreground, seed=step))
        assert np.isfinite(outcome["loss"])
    # A missing gradient would make DistributedDataParallel fail; a zero is fine. nnU-Net itself leaves the coarsest
    # segmentation layer out on one device, and gives it a tiny weight under DDP.
    missing = {n for n, p in trainer.bare_network.named_parameters() if p.grad is None}
    assert missing == {"decoder.seg_layers.0.weight", "decoder.seg_layers.0.bias"}


def test_the_refiner_learns_in_the_refine_phase_and_not_before(make_trainer: Make) -> None:
    trainer = make_trainer(block={"refiner": {"band": 1e9}})
    trainer.initialize()
    assert trainer.bare_network.refiner is not None
    parameters = dict(trainer.bare_network.refiner.named_parameters())
    for epoch, moves in ((8, set()), (9, {"head.weight", "query.weight", "first.weight", "attention.mix.weight"})):
        before = {name: p.detach().clone() for name, p in parameters.items()}
        enter_phase(trainer, epoch)
        for step in range(20):
            trainer.train_step(batch(trainer, seed=step))
        moved = {name for name, p in parameters.items() if not torch.equal(p, before[name])}
        assert moved >= moves if moves else not moved


def test_a_refiner_that_waits_changes_nothing_of_a_step(make_trainer: Make) -> None:
    """Not computed before its phase, as against computed with weight 0: the same weights, bit by bit."""
    ends = []
    for spared in (True, False):
        torch.manual_seed(0)
        trainer = make_trainer(block={"refiner": {"band": 1e9}})
        torch.manual_seed(0)
        trainer.initialize()
        enter_phase(trainer, 4)
        assert trainer.bare_network.refiner_waits
        if not spared:
            as_under_ddp(trainer)
        for step in range(3):
            losses = trainer.train_step(batch(trainer, seed=step))["terms"]
        ends.append((losses, {n: p.detach().clone() for n, p in trainer.bare_network.named_parameters()}))
        refiner = trainer.bare_network.refiner
        assert refiner is not None
        assert all((p.grad is None) is spared for p in refiner.parameters())
    np.testing.assert_array_equal(ends[0][0], ends[1][0])
    assert all(torch.equal(value, ends[1][1][name]) for name, value in ends[0][1].items())


@pytest.mark.parametrize("spared", [True, False], ids=["backward pass spared", "as under DDP"])
def test_the_network_is_finished_when_the_refiner_is_fitted(make_trainer: Make, spared: bool) -> None:
    trainer = make_trainer(block={"refiner": {"band": 1e9}})
    trainer.initialize()
    enter_phase(trainer, 8)
    trainer.train_step(batch(trainer))  # leaves momentum behind
    enter_phase(trainer, 9)
    if not spared:
        as_under_ddp(trainer)
    before = {name: p.detach().clone() for name, p in trainer.bare_network.named_parameters()}
    for step in range(3):
        trainer.train_step(batch(trainer, seed=step))
    after = dict(trainer.bare_network.named_parameters())
    changed = {name.split(".")[0] for name, p in after.items() if not torch.equal(p, before[name])}
    assert changed == {"refiner"}
    grown = {name.split(".")[0] for name, p in after.items() if p.requires_grad}
    assert (grown == {"refiner"}) is spared
    # Another training goes on from the aligned network, and it learns again.
    enter_phase(trainer, 8)
    assert all(p.requires_grad for p in trainer.bare_network.parameters())


def test_a_loss_that_stays_non_finite_stops_without_poisoning_the_weights(make_trainer: Make) -> None:
    trainer = make_trainer(block={"training": {"nonfinite_patience": 2}})
    trainer.initialize()
    enter_phase(trainer, 9)
    broken = batch(trainer)
    broken["data"][:] = torch.nan
    trainer.train_step(broken)
    with pytest.raises(TrainingError, match=r"(?s)component: loss, loss_seg.*epoch 9, cases case_a, case_b"):
        trainer.train_step(broken)
    assert all(p.isfinite().all() for p in trainer.bare_network.parameters())
    assert np.isfinite(trainer.train_step(batch(trainer))["loss"])


VARIANTS = [getattr(training, name) for name in training.__all__]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.__name__.removeprefix("nnUNetTrainer"))
def test_every_variant_trains_a_step_in_the_last_phase(make_trainer: Make, variant: Any) -> None:
    trainer = make_trainer(variant)
    trainer.initialize()
    enter_phase(trainer, trainer.num_epochs - 1)
    outcome = trainer.train_step(batch(trainer))
    assert np.isfinite(outcome["loss"])
    assert trainer.settings != resolve(None) or variant is nnUNetTrainerAlignRefine


def test_controls_replace_the_embeddings(make_trainer: Make) -> None:
    heard = {}
    for name in ("", "_RandomText", "_ShuffledText", "_LearnedText"):
        trainer = make_trainer(getattr(training, f"nnUNetTrainerAlignRefine{name}"))
        trainer.initialize()
        heard[name] = trainer.bare_network.text_embeddings.detach().clone()
    language = heard.pop("")
    assert all(not torch.allclose(language, other) for other in heard.values())
    as_rows = {tuple(row.tolist()) for row in language}
    assert {tuple(row.tolist()) for row in heard["_ShuffledText"]} == as_rows


@pytest.mark.parametrize(
    "loss",
    [{"region": "focal_tversky", "voxel": "topk", "label_smoothing": 0.05}, {"region": "none", "voxel": "focal"}],
)
def test_segmentation_losses_of_the_settings_are_used(make_trainer: Make, loss: dict[str, Any]) -> None:
    trainer = make_trainer(block={"segmentation_loss": loss})
    trainer.initialize()
    assert type(trainer.loss.loss).__module__ == "nnunetv2_textguided.losses.segmentation"
    enter_phase(trainer, 9)
    assert np.isfinite(trainer.train_step(batch(trainer))["loss"])


@pytest.mark.parametrize("plans_name", ["nnUNetPlans", "nnUNetResEncUNetMPlans"])
def test_2d_plans_train(make_trainer: Make, plans_name: str) -> None:
    trainer = make_trainer(configuration="2d", plans_name=plans_name)
    trainer.initialize()
    enter_phase(trainer, 9)
    assert np.isfinite(trainer.train_step(batch(trainer))["loss"])


def test_the_second_stage_of_a_cascade_is_not_supported_by_name(make_trainer: Make, workspace: Any) -> None:
    with pytest.raises(NotImplementedError, match="'3d_fullres' is the second stage of a cascade"):
        type(make_trainer())(*_cascade(workspace), torch.device("cpu"))


def _cascade(workspace: Any) -> tuple[dict[str, Any], str, int, dict[str, Any]]:
    import json

    path = workspace.plans_path()
    plans = json.loads(path.read_text())
    plans["configurations"]["3d_fullres"]["previous_stage"] = "3d_lowres"
    return plans, "3d_fullres", 0, json.loads((path.parent / "dataset.json").read_text())


def test_a_checkpoint_remembers_everything_and_continues(make_trainer: Make, tmp_path: Path) -> None:
    trainer = make_trainer()
    trainer.initialize()
    enter_phase(trainer, 9)
    trainer.train_step(batch(trainer))
    trainer.save_checkpoint(str(tmp_path / "c.pth"))
    twin = make_trainer(continued=True)
    twin.load_checkpoint(str(tmp_path / "c.pth"))
    assert twin.current_epoch == 10
    for (name, a), b in zip(
        trainer.bare_network.state_dict().items(), twin.bare_network.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name
    assert float(twin.bare_network.refiner.alpha) == 1  # type: ignore[union-attr]
    state, other = trainer.optimizer.state_dict(), twin.optimizer.state_dict()
    assert state["param_groups"] == other["param_groups"]


def test_a_checkpoint_that_heard_other_words_is_refused(make_trainer: Make, tmp_path: Path) -> None:
    trainer = make_trainer()
    trainer.initialize()
    trainer.save_checkpoint(str(tmp_path / "c.pth"))
    other = make_trainer(block={"text": {"prompts": "paper"}}, continued=True)
    with pytest.raises(TrainingError, match=r"(?s)trained with other words.*text\.prompts"):
        other.load_checkpoint(str(tmp_path / "c.pth"))


@pytest.mark.parametrize("damage", ["truncated", "not a checkpoint"])
def test_a_damaged_checkpoint_is_an_error_with_a_remedy(make_trainer: Make, tmp_path: Path, damage: str) -> None:
    trainer = make_trainer()
    trainer.initialize()
    path = tmp_path / "c.pth"
    trainer.save_checkpoint(str(path))
    path.write_bytes(path.read_bytes()[:1000] if damage == "truncated" else b"hello")
    with pytest.raises(TrainingError, match=r"(?s)cannot be read.*Move it away"):
        trainer.load_checkpoint(str(path))


def test_a_kill_while_writing_leaves_the_former_checkpoint(
    make_trainer: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer()
    trainer.initialize()
    path = tmp_path / "c.pth"
    trainer.save_checkpoint(str(path))
    before = path.read_bytes()

    def interrupted(_: object, target: str) -> None:
        Path(target).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.save_checkpoint(str(path))
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


def test_pretrained_weights_do_not_bring_their_own_words(make_trainer: Make) -> None:
    trainer = make_trainer()
    trainer.initialize()
    trainer.bare_network.text_embeddings.zero_()
    trainer.text_guidance.set_text(trainer.bare_network)
    assert trainer.bare_network.text_embeddings.norm(dim=1).min() > 0.99
