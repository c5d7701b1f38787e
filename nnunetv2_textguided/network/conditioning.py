"""Prompts that look at the image before they are compared with it (DenseCLIP's prompting, Rao et al., CVPR 2022)."""

from __future__ import annotations

from torch import Tensor, nn

from nnunetv2_textguided.network.attention import attend


class PromptConditioning(nn.Module):
    """t_k + out(attention(t_k; image)): each prompt's vector moves according to what the whole patch shows.

    A fixed prompt says the same of every case; a conditioned one can say what its concept looks like in this one. The
    output projection starts at zero, so that training starts from the words alone.

    Args:
        image_width: channels of the image features.
        dim: width of the prompts' vectors; a multiple of heads.
        heads: attention heads.
    """

    def __init__(self, image_width: int, dim: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads if dim % heads == 0 else 1
        self.image_norm = nn.LayerNorm(image_width)
        self.text_norm = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(image_width, dim)
        self.value = nn.Linear(image_width, dim)
        self.out = nn.Linear(dim, dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, text: Tensor, image: Tensor) -> Tensor:
        """Prompts conditioned on the image: (B, K, dim).

        Args:
            text: (K, dim) prompts.
            image: (B, image_width, *S) features.
        """
        tokens = self.image_norm(image.flatten(2).transpose(1, 2))
        query = self.query(self.text_norm(text))[None].expand(len(tokens), -1, -1)
        conditioned: Tensor = text + self.out(attend(query, self.key(tokens), self.value(tokens), self.heads))
        return conditioned
