"""Licences of what a container installs: the pinned packages and all that they bring."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable
from dataclasses import dataclass

UNKNOWN = "see its files"
_COPYLEFT = re.compile(r"GPL|MPL|Mozilla", re.IGNORECASE)
_LONGEST = 100
"""Characters of a licence's name; metadata hold whole licence texts, too."""


@dataclass(frozen=True)
class Package:
    """An installed package: name, version, and licence as its metadata say it."""

    name: str
    version: str
    licence: str

    @property
    def copyleft(self) -> bool:
        """Whether who passes the package on has duties beyond naming its authors (LGPL, GPL, MPL)."""
        return bool(_COPYLEFT.search(self.licence))


def packages_of(names: Iterable[str]) -> list[Package]:
    """Packages and what they require, directly or through others, without extras, by name; only what is installed."""
    found: dict[str, Package] = {}
    waiting = list(names)
    while waiting:
        name = _plain(waiting.pop())
        if name in found:
            continue
        try:
            metadata, required = importlib.metadata.metadata(name), importlib.metadata.requires(name) or ()
        except importlib.metadata.PackageNotFoundError:
            continue  # of another platform or an older Python
        found[name] = Package(name, str(metadata["Version"]), licence_of(metadata))
        waiting += [match[0] for one in required if "extra ==" not in one and (match := re.match(r"[\w.-]+", one))]
    return [found[name] for name in sorted(found)]


def licence_of(metadata: importlib.metadata.PackageMetadata) -> str:
    """The licence: the SPDX expression, else the classifiers, else the first line of the licence's text."""
    if "License-Expression" in metadata:
        return str(metadata["License-Expression"])
    classifiers = [
        one.split(" :: ")[-1] for one in metadata.get_all("Classifier") or () if one.startswith("License ::")
    ]
    if named := [one for one in classifiers if one != "OSI Approved"]:
        return ", ".join(named)
    lines = (str(metadata["License"]) if "License" in metadata else "").strip().splitlines()
    first = " ".join(lines[0].split()) if lines else ""
    return first[:_LONGEST] if first and first.upper() != "UNKNOWN" else UNKNOWN


def _plain(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()
