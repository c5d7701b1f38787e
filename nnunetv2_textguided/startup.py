"""Discovery: at interpreter start, append the folder of trainer shims to `nnUNet_extTrainer`.

The start-up files (startup/*.pth and, from Python 3.15 on, *.start) call `register` in every interpreter of the
environment, whether or not it will ever use nnU-Net. Hence this module imports only os and sys (importlib.util alone
would cost 26 ms), never raises, and gives up silently: `nnUNetv2_textguided doctor` says why when it did.
"""

import os
import sys

OPT_OUT = "NNUNETV2_TEXTGUIDED_DISABLE_DISCOVERY"
VARIABLE = "nnUNet_extTrainer"


def shim_folder() -> "str | None":
    """The folder that nnU-Net has to search, or None where there is none that the variable could name.

    A wheel carries it inside the package; an editable install finds it beside the package, in the repository.
    """
    package = os.path.dirname(os.path.abspath(__file__))
    candidates = [os.path.join(package, "trainers")]
    repository = os.path.dirname(package)
    # site-packages/trainers would be somebody else's folder: only a repository has a pyproject.toml there.
    if os.path.isfile(os.path.join(repository, "pyproject.toml")):
        candidates.append(os.path.join(repository, "trainers"))
    for folder in candidates:
        # The variable is a list: a path that contains its separator cannot be an entry of it.
        if os.path.isdir(folder) and os.pathsep not in folder:
            return folder
    return None


def register() -> None:
    """Append the shim folder to `nnUNet_extTrainer`, once, unless the opt-out variable is set (and not "0")."""
    if os.environ.get(OPT_OUT, "0") not in ("", "0"):
        return
    try:
        folder = shim_folder()
        entries = [entry for entry in os.environ.get(VARIABLE, "").split(os.pathsep) if entry.strip()]
        if folder is not None and folder not in entries:
            # Appended, never prepended: whatever the user named there keeps precedence.
            os.environ[VARIABLE] = os.pathsep.join([*entries, folder])
    except (OSError, ValueError) as error:  # a path that the environment cannot hold, an unreadable folder
        if sys.flags.verbose:
            print(f"nnunetv2_textguided: trainers not registered: {error}", file=sys.stderr)
