"""Instance norm and the activation after it in one module: the same numbers with fewer copies in the backward pass."""

from __future__ import annotations

from typing import Any

from dynamic_network_architectures.building_blocks.simple_conv_blocks import ConvDropoutNormReLU
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.instancenorm import _InstanceNorm


class ActivatedInstanceNorm(nn.Module):
    """Instance norm, then LeakyReLU, with the parameters and the results of the two modules.

    torch computes instance norm as batch norm of one long batch and returns a view of the result. Changing a view in
    place, as LeakyReLU does in nnU-Net to save memory, makes autograd clone the whole gradient, for each of the
    network's normalisations. Here the activation changes the result before it is viewed, so nothing is cloned.

    Args:
        norm: the normalisation, whose parameters are taken over.
        negative_slope: of the LeakyReLU.
    """

    def __init__(self, norm: _InstanceNorm, negative_slope: float) -> None:
        super().__init__()
        # The names are those of the module that this one replaces: checkpoints stay as they are.
        self.weight, self.bias = norm.weight, norm.bias
        self.eps, self.negative_slope = norm.eps, negative_slope

    def forward(self, x: Tensor) -> Tensor:
        """Normalise and activate (B, C, *S)."""
        batch, width = x.shape[:2]
        rows = x.reshape(1, batch * width, *x.shape[2:])
        weight, bias = (None if p is None else p.repeat(batch) for p in (self.weight, self.bias))
        normalised = F.batch_norm(rows, None, None, weight, bias, training=True, eps=self.eps)
        return F.leaky_relu_(normalised, self.negative_slope).view(x.shape)

    def extra_repr(self) -> str:
        """What torch prints of this module."""
        return f"eps={self.eps}, negative_slope={self.negative_slope}"


def join_activations(network: nn.Module) -> None:
    """Join every instance norm with the in-place LeakyReLU that follows it, inside `network`; names do not change."""
    for block in network.modules():
        if isinstance(block, ConvDropoutNormReLU):
            _join(block)


def _join(block: Any) -> None:
    norm, activation = getattr(block, "norm", None), getattr(block, "nonlin", None)
    if not isinstance(norm, _InstanceNorm) or not isinstance(activation, nn.LeakyReLU):
        return
    last = block.all_modules[-1] is activation and block.all_modules[-2] is norm
    if last and activation.inplace and not norm.track_running_stats:
        block.norm = block.all_modules[-2] = ActivatedInstanceNorm(norm, activation.negative_slope)
        block.nonlin = block.all_modules[-1] = nn.Identity()
