"""What happens to a study whose marksheet and lesion mask contradict each other: an explicit rule.

The marksheet's verdict rests on histology; the mask on somebody's drawing. A csPCa study with an empty mask would teach
a network that its lesion is background, and a benign study with a mask that benign tissue is cancer.
"""

from __future__ import annotations

from enum import Enum


class Rule(Enum):
    """How to handle a contradiction; `--contradictions` names it."""

    EXCLUDE = "exclude"
    MASK = "mask"
    MARKSHEET = "marksheet"

    @property
    def description(self) -> str:
        """One sentence for help texts and summaries."""
        return {
            "EXCLUDE": "leave the study out (default)",
            "MASK": "believe the mask as it is",
            "MARKSHEET": "believe the marksheet: the mask of a study without csPCa is emptied; "
            "a csPCa study with an empty mask is left out, because nobody can invent its lesion",
        }[self.name]


class Action(Enum):
    """What a rule decides for one study."""

    KEEP = "keep"
    EMPTY = "empty the mask"
    EXCLUDE = "leave out"


def contradiction(*, cspca: bool, has_lesion: bool) -> str | None:
    """Describe the contradiction between the marksheet's verdict and the mask; None where they agree."""
    if cspca and not has_lesion:
        return "the marksheet says csPCa, the mask is empty"
    if has_lesion and not cspca:
        return "the marksheet says no csPCa, the mask has a lesion"
    return None


def decide(rule: Rule, *, cspca: bool, has_lesion: bool) -> Action:
    """What `rule` does with a study."""
    if contradiction(cspca=cspca, has_lesion=has_lesion) is None or rule is Rule.MASK:
        return Action.KEEP
    if rule is Rule.MARKSHEET and has_lesion:
        return Action.EMPTY
    return Action.EXCLUDE


def grade_mismatch(values: frozenset[int], isup: int | None) -> str | None:
    """Describe a mask whose highest ISUP grade (values 2 to 5) is not the marksheet's; None where they agree.

    Grades do not enter the binary label, so this is a remark, never a reason to leave a study out.
    """
    grades = {v for v in values if v >= 2}
    if not grades or isup is None or max(grades) == isup:
        return None
    return f"the mask's highest ISUP grade is {max(grades)}, the marksheet's {isup}"
