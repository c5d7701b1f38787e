"""The command `nnUNetv2_textguided <subcommand>`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from nnunetv2_textguided.commands.parser import SUBCOMMANDS, build_parser
from nnunetv2_textguided.errors import TextGuidedError
from nnunetv2_textguided.processes.interrupts import interruptible

_PLACE = "Choose another place, or look at what lies there and who may write it."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit status: 0 done, 1 an error that a user can correct, 2 wrong usage, 130 interrupted (SIGINT or SIGTERM).
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    chosen = next((word for word in words if word in SUBCOMMANDS), None)
    parser = build_parser(() if chosen is None else (chosen,), words)
    try:
        args = parser.parse_args(words)
        command = importlib.import_module(f"nnunetv2_textguided.commands.{args.command.replace('-', '_')}")
        with interruptible():
            return int(command.run(args))
    except TextGuidedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (PermissionError, NotADirectoryError, FileExistsError, IsADirectoryError) as error:
        if error.filename is None:
            raise
        print(f"error: {error.strerror}.\n  where: {error.filename}\n  what to do: {_PLACE}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
