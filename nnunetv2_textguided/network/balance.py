"""Keep the text losses from drowning the segmentation loss where their gradients meet."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def balanced(features: Tensor, ratio: float | None) -> tuple[Tensor, Tensor]:
    """Two uses of `features`, the second of which may pull at them with at most `ratio` times the first's gradient.

    An untrained alignment head answers a class-balanced loss on a lesion of a thousandth of the patch with gradients
    that are a hundred times the segmentation loss's (docs/method.md has the measurement): any fixed loss weight is
    either too large at the start or too small later. Magnitudes are therefore compared in each backward pass, as in
    MetaBalance (He et al., WWW 2022), at the one tensor that both paths share, which costs two norms.

    Args:
        features: any shape; a decoder stage's features.
        ratio: bound of the second gradient's norm relative to the first's; None: no bound.

    Returns:
        (main, auxiliary), both equal to `features`. Where the main use has no gradient at all, the auxiliary's passes
        unchanged.

    Examples:
        >>> x = torch.ones(4, requires_grad=True)
        >>> main, auxiliary = balanced(x, 0.5)
        >>> (main.sum() + 100 * auxiliary.sum()).backward()
        >>> x.grad
        tensor([1.5000, 1.5000, 1.5000, 1.5000])
    """
    if ratio is None or not torch.is_grad_enabled():
        return features, features
    main, auxiliary = _Balance.apply(features, ratio)  # type: ignore[no-untyped-call]
    return main, auxiliary


class _Balance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
        ctx.ratio = ratio
        return features.view_as(features), features.view_as(features)

    @staticmethod
    def backward(ctx: Any, main: Tensor, auxiliary: Tensor) -> tuple[Tensor, None]:
        # float32: the square of a half-precision gradient under- or overflows. A common loss scale cancels.
        reference, size = (torch.linalg.vector_norm(g, dtype=torch.float32) for g in (main, auxiliary))
        bound = ctx.ratio * reference
        factor = torch.where((reference > 0) & (size > bound), bound / size, torch.ones_like(size))
        return main + factor.to(auxiliary.dtype) * auxiliary, None
