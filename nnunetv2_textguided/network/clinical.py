"""Clinical facts as numbers: what is known of a patient changes how the bottleneck is read (FiLM)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FACTS = ("log_psa_density", "age_years", "log_prostate_volume")
"""Order of the facts. log: natural logarithm of ng/mL per mL, and of mL."""


class ClinicalConditioning(nn.Module):
    """FiLM of features by clinical facts (Perez et al., AAAI 2018): F (1 + scale) + shift.

    Numbers, not prose: sentence encoders cannot read numbers. Each fact is standardised, and beside it stands whether
    it is known. A case of which nothing is known is left as it is, to the bit; so is every case at the start.

    Args:
        width: channels of the features.
        hidden: width of the hidden layer.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int, hidden: int = 32) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(len(FACTS)))
        self.register_buffer("deviation", torch.ones(len(FACTS)))
        self.hidden = nn.Sequential(nn.Linear(2 * len(FACTS), hidden), nn.GELU())
        self.film = nn.Linear(hidden, 2 * width)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    @torch.no_grad()
    def standardise(self, facts: Tensor) -> None:
        """Take mean and standard deviation from the (N, F) facts of the training cases, NaN where not known."""
        for column in range(len(FACTS)):
            known = facts[:, column][~facts[:, column].isnan()]
            self.mean[column] = known.mean() if len(known) else 0.0
            spread = known.std() if len(known) > 1 else torch.ones(())
            self.deviation[column] = spread if spread > 0 else 1.0

    def forward(self, features: Tensor, facts: Tensor) -> Tensor:
        """Conditioned features.

        Args:
            features: (B, width, *S).
            facts: (B, F) in the order of FACTS, NaN where not known.
        """
        # float32 also under autocast: the scale is near one.
        with torch.autocast(features.device.type, enabled=False):
            known = ~facts.isnan()
            values = torch.where(known, (facts.float() - self.mean) / self.deviation, 0.0)
            film = self.film(self.hidden(torch.cat([values, known.float()], dim=1)))
            # Nothing known: exactly the network that takes no facts.
            film = torch.where(known.any(dim=1, keepdim=True), film, 0.0)
            scale, shift = film.view(*film.shape, *(1,) * (features.ndim - 2)).chunk(2, dim=1)
        return features * (1 + scale.to(features.dtype)) + shift.to(features.dtype)
