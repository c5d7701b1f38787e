"""Fetch the viewer's one dependency, niivue (BSD-2-Clause), as the built file that npm publishes.

    python -m nnunetv2_textguided.inference.viewer.vendor

needs npm and the internet. The file is part of the package; nobody has to run this to use the viewer.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from nnunetv2_textguided.errors import TextGuidedError
from nnunetv2_textguided.files import atomic_path, write_json

VERSION = "0.69.0"
TARBALL_SHA256 = "6e9a6a471b428eb3b258a0086beca9187d95e43a781a39e8a519c6da246af485"
ASSETS = Path(__file__).parent / "assets"
LIBRARY = ASSETS / "niivue.js"
RECORD = ASSETS / "niivue.json"
_BUILT = "package/dist/niivue.umd.js"


def vendor() -> Path:
    """Fetch, verify and store the pinned release; returns the stored file.

    Raises:
        TextGuidedError: npm is missing or fails, or the release is not the one that was pinned.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            command = ["npm", "pack", f"@niivue/niivue@{VERSION}", "--silent"]
            subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise TextGuidedError(
                f"npm cannot fetch niivue: {error}", remedy="Install npm; check the network."
            ) from error
        tarball = next(Path(folder).glob("*.tgz"))
        digest = hashlib.sha256(tarball.read_bytes()).hexdigest()
        if digest != TARBALL_SHA256:
            raise TextGuidedError(f"The release has SHA-256 {digest}, not {TARBALL_SHA256}.", where=tarball.name)
        with tarfile.open(tarball) as archive:
            member = archive.extractfile(_BUILT)
            if member is None:
                raise TextGuidedError("The release does not hold the built file.", where=_BUILT)
            content = member.read()
    with atomic_path(LIBRARY) as path:
        path.write_bytes(content)
    record = {
        "name": "@niivue/niivue",
        "version": VERSION,
        "licence": "BSD-2-Clause",
        "source": f"https://registry.npmjs.org/@niivue/niivue/-/niivue-{VERSION}.tgz",
        "file": _BUILT,
        "tarball_sha256": digest,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    write_json(RECORD, record)
    return LIBRARY


if __name__ == "__main__":
    print(vendor())
    sys.exit(0)
