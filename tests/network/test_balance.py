from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nnunetv2_textguided.network.balance import balanced


def pull(main_weight: Tensor, auxiliary_weight: Tensor, ratio: float | None) -> Tensor:
    """Gradient of `main . main_weight + auxiliary . auxiliary_weight` with respect to the shared features."""
    features = torch.zeros_like(main_weight, requires_grad=True)
    main, auxiliary = balanced(features, ratio)
    ((main * main_weight).sum() + (auxiliary * auxiliary_weight).sum()).backward()
    assert features.grad is not None
    return features.grad


def test_values_pass_unchanged() -> None:
    features = torch.randn(2, 3, 4, requires_grad=True)
    main, auxiliary = balanced(features, 0.5)
    assert torch.equal(main, features)
    assert torch.equal(auxiliary, features)


def test_a_small_auxiliary_gradient_is_not_touched() -> None:
    main, auxiliary = torch.tensor([3.0, 4.0]), torch.tensor([0.1, -0.2])
    assert torch.equal(pull(main, auxiliary, 0.5), main + auxiliary)


def test_a_large_auxiliary_gradient_keeps_its_direction_and_loses_its_size() -> None:
    main, auxiliary = torch.tensor([3.0, 4.0]), torch.tensor([600.0, -800.0])
    torch.testing.assert_close(pull(main, auxiliary, 0.5) - main, torch.tensor([1.5, -2.0]))


def test_without_a_bound_gradients_add_up() -> None:
    main, auxiliary = torch.tensor([1.0]), torch.tensor([1e6])
    assert torch.equal(pull(main, auxiliary, None), main + auxiliary)


@pytest.mark.parametrize("auxiliary", [torch.zeros(2), torch.tensor([5.0, 0.0])])
def test_without_a_main_gradient_the_auxiliary_passes(auxiliary: Tensor) -> None:
    assert torch.equal(pull(torch.zeros(2), auxiliary, 0.5), auxiliary)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gradients_whose_squares_overflow_are_bounded(dtype: torch.dtype) -> None:
    gradient = pull(torch.full((8,), 1e3, dtype=dtype), torch.full((8,), 3e4, dtype=dtype), 0.5)
    torch.testing.assert_close(gradient.float(), torch.full((8,), 1.5e3), rtol=1e-2, atol=0)


def test_a_gradient_scaler_s_factor_cancels() -> None:
    main, auxiliary = torch.tensor([3.0, 4.0]), torch.tensor([60.0, 80.0])
    torch.testing.assert_close(pull(1024 * main, 1024 * auxiliary, 0.5) / 1024, pull(main, auxiliary, 0.5))


def test_prediction_does_not_split_anything() -> None:
    features = torch.randn(3)
    with torch.no_grad():
        main, auxiliary = balanced(features, 0.5)
    assert main is features
    assert auxiliary is features
