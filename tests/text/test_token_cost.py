"""Operations that it costs to attend to every token instead of every prompt; tests/performance takes the time."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from nnunetv2_textguided.network import AlignRefineUNet
from nnunetv2_textguided.network.from_plans import build_from_architecture
from nnunetv2_textguided.settings.presets import resolve
from tests.networks import architecture, block

# The default bank: 6 class prompts, 12 context prompts, 151 tokens with MiniLM.
PROMPTS, TOKENS, WIDTH = 18, 151, 384
PATCH = (8, 64, 64)


def network(attended: str) -> AlignRefineUNet:
    """A network that refines 2 % of the volume, its maximum."""
    text: dict[str, Any] = {"prompts_per_label": (6,), "context": 12, "embedding_dim": WIDTH}
    if attended == "tokens":
        text |= {"num_tokens": TOKENS, "token_dim": WIDTH}
    guidance = block(
        {"refiner": {"tokens": attended, "band": 1e9, "max_fraction": 0.02, "prediction_fraction": 0.02}}, **text
    )
    net: Any = build_from_architecture(architecture(features=(16, 32, 64)), resolve(guidance), 3, 2, True)
    net.set_text(torch.randn(PROMPTS, WIDTH), torch.randn(TOKENS, WIDTH) if attended == "tokens" else None)
    net.refiner.alpha.fill_(1.0)
    return net


def test_attending_to_tokens_adds_less_than_a_hundredth_of_the_operations() -> None:
    operations = {}
    for attended in ("pooled", "tokens"):
        net = network(attended)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net(torch.randn(1, 3, *PATCH))
        operations[attended] = counter.get_total_flops()
    assert operations["pooled"] < operations["tokens"] < 1.01 * operations["pooled"]
