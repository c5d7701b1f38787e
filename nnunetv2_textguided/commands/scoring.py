"""The options of how a case is scored, the same for `picai evaluate` and `benchmark report`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnunetv2_textguided.evaluation.options import Scoring


def add_scoring(parser: Any) -> None:
    """Add the options to a parser or a group of it."""
    parser.add_argument("--extraction", default="dynamic", help="dynamic (the default), dynamic-fast, or a probability")
    parser.add_argument("--empty", choices=("positives-only", "paper", "nnunet"), default="positives-only",
                        help="what an empty mask counts as in overlap metrics (default: positives-only)")  # fmt: skip
    parser.add_argument("--missed-hd95", choices=("exclude", "diagonal"), default="exclude",
                        help="HD95 where exactly one mask is empty (default: exclude)")  # fmt: skip


def read_scoring(args: argparse.Namespace, **others: Any) -> Scoring:
    """The choices, with a command's `others`."""
    from nnunetv2_textguided.evaluation.conventions import EmptyMask, MissedDistance
    from nnunetv2_textguided.evaluation.options import Scoring, read_extraction

    empty, missed = EmptyMask(args.empty), MissedDistance(args.missed_hd95)
    return Scoring(extraction=read_extraction(args.extraction), empty=empty, missed=missed, **others)
