"""Packages of the optional extras: imported when first used, with an error that names the extra."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
from types import ModuleType

from nnunetv2_textguided.errors import TextGuidedError

# Module that is imported -> distribution that provides it.
PICAI = {
    "cc3d": "connected-components-3d",
    "picai_baseline": "picai_baseline",
    "picai_eval": "picai_eval",
    "picai_prep": "picai_prep",
    "report_guided_annotation": "report_guided_annotation",
}
DICOM = {"pydicom": "pydicom", "highdicom": "highdicom"}
REPORT = {
    **{module: PICAI[module] for module in ("cc3d", "picai_eval", "report_guided_annotation")},
    **{module: module for module in ("pandas", "matplotlib", "jinja2")},
}


def require(module: str) -> ModuleType:
    """Import `module` (a dotted name) of the extra `picai` or `dicom`.

    Raises:
        TextGuidedError: its distribution is not installed, or cannot be imported.
    """
    try:
        # These packages print a citation banner at import, once per worker process; docs/picai.md and the prepared
        # data set's CITATION.md carry those citations instead.
        with contextlib.redirect_stdout(io.StringIO()):
            return importlib.import_module(module)
    except ImportError as error:
        top = module.split(".")[0]
        extra, distributions = ("dicom", DICOM) if top in DICOM else ("picai", PICAI)
        raise TextGuidedError(
            f"This needs the package {distributions[top]}, which cannot be imported: {error}.",
            where=module,
            remedy=f'pip install "nnunetv2-textguided[{extra}]"',
        ) from error


def require_report() -> None:
    """Check that a benchmark report can be made, before any work is done.

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
