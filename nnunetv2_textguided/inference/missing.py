"""A patient who lacks a channel: refused, unless that is asked for and the model was trained to do without it."""

from __future__ import annotations

from dataclasses import dataclass

from nnunetv2_textguided.settings import Settings


@dataclass(frozen=True)
class MissingRule:
    """Whether a patient may lack channels.

    Attributes:
        allowed: a channel that is absent, or whose voxels are all the same, is left out.
        reason: why not, or what else could be done, for errors.
    """

    allowed: bool = False
    reason: str = "The model needs every channel that it was trained with."


def missing_rule(asked: str, settings: Settings | None) -> MissingRule:
    """The rule for a model.

    Args:
        asked: one of options.MISSING.
        settings: the model's; None: it is of another trainer.
    """
    trained = settings is not None and settings.training.channel_dropout > 0
    if asked == "allow" and trained:
        return MissingRule(allowed=True)
    if asked == "allow":
        return MissingRule(
            reason="The model saw every channel in every training image (training.channel_dropout 0): it cannot do "
            "without one, and --missing allow is for models that were trained for it."
        )
    if trained:
        return MissingRule(reason="The model was trained to do without a channel, if need be: --missing allow.")
    return MissingRule()
