"""Files of a Hugging Face repository at one pinned revision: from the local cache, else downloaded, else a clear error.

`huggingface_hub` retries an unreachable hub for half a minute, and open_clip's `hf-hub:` cannot pin a revision; so the
hub is probed first, and models are then loaded from the snapshot's folder.
"""

from __future__ import annotations

import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from nnunetv2_textguided.errors import EncoderError

PROBE_SECONDS = 5.0
"""How long to wait for the hub before calling it unreachable."""


def snapshot(repository: str, revision: str, files: Sequence[str], *, needs: str, optional: Sequence[str] = ()) -> Path:
    """The folder with `files` of `repository` at `revision`.

    Args:
        repository: `organisation/name` on the hub.
        revision: a commit hash.
        files: names of files, each of which must be there.
        needs: what the files are for, in errors.
        optional: further files to fetch, if the repository has them.

    Raises:
        EncoderError: they are not all in the local cache and cannot be downloaded.
    """
    from huggingface_hub import constants, errors, snapshot_download

    try:
        folder = Path(snapshot_download(repository, revision=revision, local_files_only=True))
    except OSError:  # nothing of this revision is cached
        folder = Path("(not in the cache)")
    missing = [name for name in files if not (folder / name).is_file()]
    if not missing:
        return folder
    reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else unreachable(constants.ENDPOINT)
    if reason is None:
        try:
            folder = Path(snapshot_download(repository, revision=revision, allow_patterns=[*files, *optional]))
        except (OSError, ValueError, errors.HTTPError) as e:
            reason = f"the download failed: {e}"
        else:
            missing = [name for name in files if not (folder / name).is_file()]
            reason = "the repository does not have them"
    if missing and reason is not None:
        raise EncoderError(
            f"The repository {repository} ({needs}) is not completely in the local cache and cannot be had: {reason}. "
            f"Missing: {', '.join(missing)}.",
            where=f"cache {constants.HF_HUB_CACHE}, revision {revision}",
            remedy=_REMEDY,
        )
    return folder


def unreachable(endpoint: str, seconds: float = PROBE_SECONDS) -> str | None:
    """Why the hub cannot be reached, or None if anything answers there within `seconds`."""
    problem: list[str | None] = [f"{endpoint} did not answer within {seconds:g} s"]

    def probe() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=seconds).close()
            problem[0] = None
        except urllib.error.HTTPError:
            problem[0] = None  # an answer, whatever it says
        except OSError as e:
            # A certificate that this library does not know may be one that the hub's client does.
            reason = getattr(e, "reason", e)
            if isinstance(reason, ssl.SSLError):
                problem[0] = None
            elif not isinstance(reason, TimeoutError):  # which says no more than that there was no answer
                problem[0] = f"{endpoint} cannot be reached ({e})"

    # Name resolution obeys no timeout, hence the thread.
    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(seconds)
    return problem[0]


_REMEDY = (
    "One of: (1) run `encode` on a connected machine and copy the embedding file, which is all that training needs; "
    "(2) fetch both repositories there with `hf download` and pass the folder as --encoder local:DIR (docs/text.md); "
    "(3) choose another encoder by name, for example --encoder minilm."
)
