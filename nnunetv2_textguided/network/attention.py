"""Multi-head attention of projected queries, keys and values."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, dropout: float = 0.0) -> Tensor:
    """What queries take from values: (B, M, dim), the heads' results one after the other.

    Args:
        query: (B, M, dim).
        key: (B, N, dim).
        value: (B, N, dim).
        heads: that dim is divided into.
        dropout: of the attention weights.
    """
    queries, keys, values = (one.unflatten(2, (heads, -1)).transpose(1, 2) for one in (query, key, value))
    attended = F.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout)
    return attended.transpose(1, 2).flatten(2)
