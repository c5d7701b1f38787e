"""The optional extra `benchmark`: an error that names it, before any work is done."""

from __future__ import annotations

import importlib.util

from nnunetv2_textguided.errors import TextGuidedError

# Module that is imported -> distribution that provides it.
REPORT = {
    "pandas": "pandas",
    "scipy": "scipy",
    "matplotlib": "matplotlib",
    "jinja2": "jinja2",
    "picai_eval": "picai_eval",
    "report_guided_annotation": "report_guided_annotation",
    "surface_distance": "surface-distance",
    "cc3d": "connected-components-3d",
}


def require_extra() -> None:
    """Check that a report can be made.

    Raises:
        TextGuidedError: a distribution is not installed.
    """
    missing = [distribution for module, distribution in REPORT.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise TextGuidedError(
            f"A benchmark report needs packages that are not installed: {', '.join(missing)}.",
            where="nnunetv2-textguided",
            remedy='pip install "nnunetv2-textguided[benchmark,picai]"',
        )
