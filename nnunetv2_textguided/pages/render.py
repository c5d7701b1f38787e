"""Templates to pages: one HTML file that needs no network and no server."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

FRAME = Path(__file__).parent


def render(template: Path, **values: Any) -> str:
    """Fill a template, which may extend frame.html.j2 and import components.html.j2.

    Args:
        template: the file.
        values: by the names that it uses; text is escaped, an inline figure or style comes as `markupsafe.Markup`.

    Raises:
        jinja2.UndefinedError: the template uses a name that is not among the values.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader([template.parent, FRAME])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template.name).render(**values)


def data_uri(content: bytes, media_type: str) -> str:
    """Content as a URI that needs no other file."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"
