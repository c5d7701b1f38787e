"""Stock weights in the text-guided network: exact where it can be, close where it cannot, refused where it must not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from nnunetv2_textguided.cli import main
from nnunetv2_textguided.errors import NetworkError
from nnunetv2_textguided.planning.checkpoint import read_checkpoint
from nnunetv2_textguided.planning.convert import Conversion, convert_weights, kept_features
from nnunetv2_textguided.planning.run import plan_dataset
from nnunetv2_textguided.planning.topology import stock_architecture
from tests.networks import architecture, network
from tests.planning.stock import stock_network, write_checkpoint

SINGLE = {"encoders": {"arrangement": "single"}}


def image(channels: int, dim: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, channels, *(4, 16, 16)[-dim:], generator=torch.Generator().manual_seed(seed))


def convert(
    tmp_path: Path, plans: dict[str, Any], stock: Any, channels: int, *overrides: Any
) -> tuple[Any, Conversion]:
    """Our network with the stock network's weights, by way of a file."""
    path = write_checkpoint(tmp_path / "checkpoint_final.pth", stock, plans)
    net = network(*overrides, channels=channels, plans=plans, seed=5)
    return net.eval(), convert_weights(net, read_checkpoint(path, plans, channels))


@pytest.mark.parametrize(("channels", "override"), [(1, {}), (3, SINGLE)], ids=["one channel", "one encoder"])
@pytest.mark.parametrize(("family", "dim"), [("plain", 3), ("residual", 3), ("plain", 2)])
def test_with_one_encoder_the_stock_network_is_reproduced(
    tmp_path: Path, family: str, dim: int, channels: int, override: dict[str, Any]
) -> None:
    plans = architecture(family, dim)
    stock = stock_network(plans, channels).eval()
    net, conversion = convert(tmp_path, plans, stock, channels, override)
    x = image(channels, dim)
    with torch.no_grad():
        assert torch.allclose(net(x), stock(x), atol=1e-5)
        assert not torch.allclose(network(override, channels=channels, plans=plans, seed=5)(x), stock(x), atol=1e-2)
    assert not conversion.averaging


@pytest.mark.parametrize("override", [{}, SINGLE, {"encoders": {"shared_from_stage": 1}}, {"encoders": {"width": 0.5}}])
@pytest.mark.parametrize("family", ["plain", "residual"])
def test_every_stock_tensor_is_used_and_the_text_s_parts_are_not_touched(
    tmp_path: Path, family: str, override: dict[str, Any]
) -> None:
    plans = architecture(family, features=(16, 32, 48))
    before = {k: v.clone() for k, v in network(override, plans=plans, seed=5).state_dict().items()}
    net, conversion = convert(tmp_path, plans, stock_network(plans, 3), 3, override)
    assert all(reason.startswith("the same tensor") for reason in conversion.ignored.values())
    initialised = {key.split(".")[0] for key in conversion.initialised if not key.startswith("encoder.fusions")}
    assert initialised == {"alignment", "refiner", "text_embeddings", "text_tokens"}
    after = net.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in conversion.initialised)
    assert {*conversion.mapped, *conversion.averaging, *conversion.initialised} == {*after}


def test_each_stem_keeps_the_slice_of_its_own_channel(tmp_path: Path) -> None:
    plans = architecture("residual")
    stock = stock_network(plans, 3)
    net, _ = convert(tmp_path, plans, stock, 3)
    stem = stock.state_dict()["encoder.stem.convs.0.conv.weight"]
    for channel, branch in enumerate(net.encoder.branches):
        assert torch.equal(branch.stem.convs[0].conv.weight, stem[:, channel : channel + 1])


def test_three_encoders_that_see_the_same_image_average_to_one(tmp_path: Path) -> None:
    # With equal stem slices the branches agree on equal channels, and their average is the one-channel network.
    plans = architecture()
    one = stock_network(plans, 1).eval()
    three = stock_network(plans, 3).eval()
    state = {key: value.clone() for key, value in one.state_dict().items()}
    for key, value in state.items():
        if value.ndim == 5 and value.shape[1] == 1:
            state[key] = value.expand_as(three.state_dict()[key]).clone()
    three.load_state_dict(state)
    net, _ = convert(tmp_path, plans, three, 3)
    x = image(1)
    with torch.no_grad():
        assert torch.allclose(net(x.expand(-1, 3, -1, -1, -1)), one(x), atol=1e-5)


def test_narrow_branches_carry_complementary_features(tmp_path: Path) -> None:
    taken = [kept_features(8, 4, branch).tolist() for branch in range(3)]
    assert taken == [[0, 1, 2, 3], [4, 5, 6, 7], [0, 1, 2, 3]]
    plans = architecture(features=(16, 32))
    net, _ = convert(tmp_path, plans, stock_network(plans, 3), 3, {"encoders": {"width": 0.5}})
    for fusion in net.encoder.fusions:
        # Where all branches carry the same value, so does the fused map: the weights of every feature sum to one.
        sums = sum(conv.weight.detach().flatten(1).sum(1) for conv in fusion.convs)
        assert torch.allclose(sums, torch.ones_like(sums))


def test_fine_tuning_starts_lower_than_from_scratch(tmp_path: Path) -> None:
    plans = architecture(features=(8, 16, 24))
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    target = F.max_pool3d((torch.rand(8, 1, 4, 16, 16, generator=generator) > 0.99).float(), (1, 5, 5), 1, (0, 2, 2))
    contrast = torch.tensor([2.0, -2.0, 1.0]).view(1, 3, 1, 1, 1)
    images = torch.randn(8, 3, 4, 16, 16, generator=generator) + target * contrast

    def train(net: Any, steps: int) -> list[float]:
        optimiser = torch.optim.SGD(net.parameters(), lr=1e-2, momentum=0.9, nesterov=True)
        losses = []
        for step in range(steps):
            chosen = slice(4 * (step % 2), 4 * (step % 2) + 4)
            loss = F.cross_entropy(net(images[chosen]), target[chosen, 0].long())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        return losses

    stock = stock_network(plans, 3)
    final = train(stock, 40)[-1]
    converted, _ = convert(tmp_path, plans, stock, 3)
    scratch = network(plans=plans, seed=5)
    # As nnU-Net's -pretrained_weights does: segmentation layers are not transferred.
    for mine, new in zip(converted.decoder.seg_layers, scratch.decoder.seg_layers, strict=True):
        mine.load_state_dict(new.state_dict())
    tuned, fresh = train(converted.train(), 10), train(scratch, 10)
    assert sum(tuned[1:]) < 0.9 * sum(fresh[1:])
    assert tuned[-1] < 0.9 * fresh[-1]
    assert final < fresh[-1]


def test_an_encoder_pretrained_on_one_channel_goes_into_every_branch(tmp_path: Path) -> None:
    plans = architecture("residual")
    donor = stock_network(plans, 1, heads=1)
    weights = donor.encoder.state_dict(prefix="net.backbone.")
    path = tmp_path / "pretrained.pth"
    plan = {"key_to_encoder": "net.backbone.stages", "key_to_stem": "net.backbone.stem"}
    torch.save({"network_weights": weights, "nnssl_adaptation_plan": plan}, path)
    net = network(plans=plans)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    conversion = convert_weights(net, read_checkpoint(path, plans, 3))
    for branch in net.encoder.branches:
        for name, value in donor.encoder.state_dict().items():
            assert torch.equal(branch.state_dict()[name], value)
    decoder = [key for key in before if key.startswith("decoder")]
    assert set(decoder) <= set(conversion.initialised)
    assert all(torch.equal(net.state_dict()[key], before[key]) for key in decoder)
    assert not conversion.ignored


def test_a_pretrained_encoder_of_another_shape_is_refused(tmp_path: Path) -> None:
    donor = stock_network(architecture("residual", features=(6, 12, 20)), 1)
    path = tmp_path / "pretrained.pth"
    torch.save({"network_weights": donor.encoder.state_dict(prefix="encoder."), "nnssl_adaptation_plan": {}}, path)
    checkpoint = read_checkpoint(path, architecture("residual", features=(80, 160, 240)), 3)
    with pytest.raises(NetworkError, match="No tensor of the pre-trained encoder"):
        convert_weights(network(plans=architecture("residual", features=(80, 160, 240))), checkpoint)


def test_other_labels_cost_only_the_segmentation_layers(tmp_path: Path) -> None:
    plans = architecture()
    _, conversion = convert(tmp_path, plans, stock_network(plans, 3, heads=4), 3)
    lost = [key for key in conversion.initialised if key.startswith("decoder")]
    assert lost
    assert all(".seg_layers." in key for key in lost)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 2}, "takes 2 image channels, the data set has 3"),
        ({"plans": {"features": (8, 16, 32)}}, r"features_per_stage: \[8, 16, 32\] in the checkpoint, \[8, 16, 24\]"),
        ({"plans": {"features": (8, 16)}}, "n_stages: 2 in the checkpoint, 3 in the plans"),
        ({"plans": {"dim": 2}}, r"strides: \[\[1, 1\], \[2, 2\], \[2, 2\]\] in the checkpoint"),
        ({"plans": {"family": "residual"}}, "network_class_name"),
    ],
    ids=["channels", "features", "stages", "2D", "family"],
)
def test_other_networks_are_refused_by_name(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    theirs = architecture(**changes.get("plans", {}))
    stock = stock_network(theirs, changes.get("channels", 3))
    path = write_checkpoint(tmp_path / "checkpoint_final.pth", stock, theirs)
    with pytest.raises(NetworkError, match=message):
        read_checkpoint(path, architecture(), 3)


def test_strides_that_shapes_do_not_show_are_compared(tmp_path: Path) -> None:
    theirs = architecture()
    theirs["arch_kwargs"]["strides"] = [[1, 1, 1], [1, 2, 2], [2, 2, 2]]
    path = write_checkpoint(tmp_path / "c.pth", stock_network(theirs, 3), theirs)
    with pytest.raises(NetworkError, match="strides"):
        read_checkpoint(path, architecture(), 3)


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    plans = architecture()
    whole = write_checkpoint(tmp_path / "whole.pth", stock_network(plans, 3), plans)
    truncated = tmp_path / "truncated.pth"
    truncated.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (tmp_path / "empty.pth").touch()
    torch.save({"state_dict": {}}, tmp_path / "foreign.pth")
    write_checkpoint(tmp_path / "ours.pth", network(plans=plans), plans)
    incomplete = stock_network(plans, 3)
    state = {key: value for key, value in incomplete.state_dict().items() if "stages.1" not in key}
    write_checkpoint(tmp_path / "incomplete.pth", incomplete, plans, network_weights=state)
    for name, message in {
        "missing.pth": "does not exist",
        "truncated.pth": "damaged or truncated",
        "empty.pth": "damaged or truncated",
        "foreign.pth": "no network_weights",
        "ours.pth": "text-guided network already",
        "incomplete.pth": "lacks",
    }.items():
        with pytest.raises(NetworkError, match=message):
            convert_weights(network(plans=plans), read_checkpoint(tmp_path / name, plans, 3))


def test_the_command_prints_what_became_of_every_tensor(
    flat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = plan_dataset(902)
    (flat / "dataset.json").write_bytes((tmp_path / "raw" / flat.name / "dataset.json").read_bytes())
    theirs = stock_architecture(result.plans["configurations"]["2d"]["architecture"])
    path = write_checkpoint(tmp_path / "checkpoint_final.pth", stock_network(theirs, 2), theirs, "2d")
    out = tmp_path / "out.pth"
    words = ["convert-weights", str(path), "-d", "902", "-c", "2d", "-p", result.path.stem, "-o", str(out)]
    capsys.readouterr()
    assert main([*words, "--list"]) == 0
    printed = capsys.readouterr().out
    listed = {line.split()[1]: line.split()[0] for line in printed.splitlines() if line.startswith("  ")}
    weights = torch.load(out, weights_only=True)["network_weights"]
    assert {key for key, verb in listed.items() if verb != "ignored"} == set(weights)
    assert {key.partition(".")[0] for key, verb in listed.items() if verb == "ignored"} == {"decoder"}
    assert "(the same tensor" in printed
    assert "-pretrained_weights" in printed
    assert main(words) == 0
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")} == {
        "mapped", "averaging", "initialised", "ignored"
    }  # fmt: skip


def test_names_of_ddp_and_compiled_networks_are_understood(tmp_path: Path) -> None:
    plans = architecture()
    stock = stock_network(plans, 3)
    renamed = {f"module._orig_mod.{key}": value for key, value in stock.state_dict().items()}
    path = write_checkpoint(tmp_path / "c.pth", stock, plans, network_weights=renamed)
    assert read_checkpoint(path, plans, 3).weights.keys() == stock.state_dict().keys()
