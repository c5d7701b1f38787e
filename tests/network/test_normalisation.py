from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.autograd.graph import Node

from nnunetv2_textguided.network.normalisation import ActivatedInstanceNorm, join_activations
from tests.networks import architecture, network
from tests.planning.stock import stock_network


def modules(dim: int, affine: bool = True) -> tuple[nn.Module, nn.Module]:
    """nnU-Net's two modules, and the one that joins them on the same parameters."""
    torch.manual_seed(0)
    norm = (nn.InstanceNorm2d, nn.InstanceNorm3d)[dim - 2](5, affine=affine)
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return nn.Sequential(norm, nn.LeakyReLU(0.01, inplace=True)), ActivatedInstanceNorm(norm, 0.01)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("affine", [True, False])
def test_results_and_gradients_are_exactly_those_of_two_modules(dim: int, affine: bool) -> None:
    apart, joined = modules(dim, affine)
    x = torch.randn(2, 5, *[4, 6, 8][-dim:], requires_grad=True)
    results = []
    for module in (apart, joined):
        y = module(2 * x)
        results.append((y, *torch.autograd.grad(y.pow(3).sum(), [x, *apart.parameters()])))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def copies(y: torch.Tensor) -> set[str]:
    """Names of the nodes that lead to `y` and copy a gradient."""
    seen: set[Node] = set()
    queue = [y.grad_fn]
    while queue:
        node = queue.pop()
        if node is not None and node not in seen:
            seen.add(node)
            queue += [following for following, _ in node.next_functions]
    return {node.name() for node in seen if "CopySlices" in node.name()}


def test_no_gradient_is_copied() -> None:
    apart, joined = modules(3)
    x = torch.randn(1, 5, 2, 4, 4, requires_grad=True)
    assert copies(apart(2 * x))
    assert not copies(joined(2 * x))
    assert not copies(network({"components": []})(torch.randn(1, 3, 4, 16, 16)))


@pytest.mark.parametrize("family", ["plain", "residual"])
def test_a_joined_network_has_the_same_names_and_results(family: str) -> None:
    net = stock_network(architecture(family), 2)
    x = torch.randn(2, 2, 4, 16, 16)
    names, before = list(net.state_dict()), net(x)
    join_activations(net)
    assert any(isinstance(module, ActivatedInstanceNorm) for module in net.modules())
    assert list(net.state_dict()) == names
    assert torch.equal(net(x), before)


def test_other_layers_are_left_alone() -> None:
    plans = architecture()
    plans["arch_kwargs"] |= {"norm_op": "torch.nn.modules.batchnorm.BatchNorm3d", "nonlin": "torch.nn.ReLU"}
    net = network({"components": []}, plans=plans)
    assert not any(isinstance(module, ActivatedInstanceNorm) for module in net.modules())
