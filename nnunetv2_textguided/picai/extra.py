"""The optional extra `picai`: its packages are imported when first used, with an error that names the extra."""

from __future__ import annotations

import contextlib
import importlib
import io
from types import ModuleType

from nnunetv2_textguided.errors import TextGuidedError

# Module that is imported -> distribution that provides it.
DISTRIBUTIONS = {
    "cc3d": "connected-components-3d",
    "picai_baseline": "picai_baseline",
    "picai_eval": "picai_eval",
    "picai_prep": "picai_prep",
    "report_guided_annotation": "report_guided_annotation",
    "surface_distance": "surface-distance",
}


def require(module: str) -> ModuleType:
    """Import `module` (a dotted name) of the extra `picai`.

    Raises:
        TextGuidedError: its distribution is not installed, or cannot be imported.
    """
    try:
        # These packages print a citation banner at import, once per worker process; docs/picai.md and the prepared
        # data set's CITATION.md carry those citations instead.
        with contextlib.redirect_stdout(io.StringIO()):
            return importlib.import_module(module)
    except ImportError as error:
        distribution = DISTRIBUTIONS[module.split(".")[0]]
        raise TextGuidedError(
            f"The PI-CAI commands need the package {distribution}, which cannot be imported: {error}.",
            where=module,
            remedy='pip install "nnunetv2-textguided[picai]"',
        ) from error
