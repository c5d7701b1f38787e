"""Which shipped bank a data set gets when the settings name none.

Rule: the first of `default` (csPCa against its surroundings) and `zones` (prostate anatomy and csPCa) that names
EVERY label of the data set; else `generic` (each label's own name). So {csPCa} gets default, {PZ, TZ, csPCa} gets
zones, {liver, tumor} gets generic.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from nnunetv2_textguided.text.bank import PromptBank, load_bank, words

PROSTATE_BANKS = ("default", "zones")
GENERIC = "generic"
# Words that name no organ: taken as csPCa if nothing else in the data set speaks against it, but not quietly.
_ORGANLESS = frozenset({"lesion", "lesions", "tumour", "tumor", "cancer"})
_LOG = logging.getLogger(__name__)


def choose_bank(prompts: str | None, labels: Sequence[str]) -> tuple[PromptBank, frozenset[str]]:
    """The bank of exactly `labels`, and which of them it names itself (the others got their own name as prompt).

    Args:
        prompts: name or path of a bank; None: by the rule above.
        labels: foreground labels or regions of the data set.

    Raises:
        PromptBankError: the bank or a label is not valid.
    """
    if prompts is not None:
        bank = load_bank(prompts)
        return bank.for_labels(labels), frozenset(bank.match(labels))
    for name in PROSTATE_BANKS:
        bank = load_bank(name)
        named = bank.match(labels)
        if len(named) == len(labels):
            organless = [label for label in labels if words(label).casefold() in _ORGANLESS]
            if organless:
                _LOG.warning(
                    "The label %s is taken as prostate lesion (bank '%s'). If it is not, set text.prompts to '%s' or "
                    "to a bank of your own.",
                    ", ".join(map(repr, organless)),
                    name,
                    GENERIC,
                )
            return bank.for_labels(labels), frozenset(named)
    return load_bank(GENERIC).for_labels(labels), frozenset()
