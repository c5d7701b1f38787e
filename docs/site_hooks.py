"""What mkdocs is told beyond mkdocs.yml: notebooks, pages from outside of docs/, links, and formulas as MathML."""

from __future__ import annotations

import html
import json
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = "nnunetv2_textguided"

BESIDE: Mapping[str, str] = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""Pages at the top of the repository -> pages of the site."""

API: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "load": ("Load a model in Python", ("inference.patient",)),
    "network": ("Network", ("network",)),
    "losses": ("Losses", ("losses",)),
    "settings": ("Schedule and settings", ("schedule", "settings", "errors")),
    "text": ("Text", ("text",)),
}
"""Page -> its title, and the modules or rooms that are documented on it."""

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:|#|mailto:)([^)\s#]+)(#[^)\s]*)?\)")
FORMULA = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.DOTALL)


def api_page(name: str) -> str:
    """Markdown of an API page, for mkdocstrings."""
    title, _ = API[name]
    return "\n\n".join([f"# {title}", *(f"::: {PACKAGE}.{module}" for module in modules(name))]) + "\n"


def modules(name: str) -> list[str]:
    """Dotted names, inside the package, of the modules on an API page."""
    found = []
    for module in API[name][1]:
        path = REPOSITORY / PACKAGE / module.replace(".", "/")
        inside = sorted(p.stem for p in path.glob("*.py") if p.stem != "__init__") if path.is_dir() else []
        found += [f"{module}.{stem}" for stem in inside] or [module]
    return found


def notebook_page(path: Path) -> str:
    """Markdown of an executed notebook: its cells, what they printed, and their pictures."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        texts, pictures = [], []
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/png" in data:
                pictures.append(data["image/png"].strip())
            else:
                texts += output.get("text") or data["text/plain"]
        if printed := "".join(texts).rstrip():
            parts.append(f"```text\n{printed}\n```")
        parts += [f'<img alt="What this cell draws" src="data:image/png;base64,{picture}">' for picture in pictures]
    return "\n\n".join(parts) + f"\n\nThe notebook itself: `docs/{path.name}`.\n"


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are not Markdown in docs/."""
    for path in sorted((REPOSITORY / "docs").glob("*.ipynb")):
        files.append(File.generated(config, f"{path.stem}.md", content=notebook_page(path)))
    for source, page in BESIDE.items():
        content = (REPOSITORY / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=content))
    for name in API:
        files.append(File.generated(config, f"api/{name}.md", content=api_page(name)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links within the repository into links within the site; what is not on the site stays as its text."""
    source = page.file.src_uri
    home = {target: name for name, target in BESIDE.items()}.get(source)
    folder = posixpath.dirname(home if home is not None else f"docs/{source}")

    def replace(match: re.Match[str]) -> str:
        picture, text, target, anchor = match[1], match[2], match[3], match[4] or ""
        found = site_path(posixpath.normpath(posixpath.join(folder, target)))
        if found is None:
            return text
        relative = posixpath.relpath(found, posixpath.dirname(source) or ".")
        return f"{picture}[{text}]({relative}{anchor})"

    fences = re.split(r"(^```.*?^```$)", markdown, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if part.startswith("```") else LINK.sub(replace, part) for part in fences)


def site_path(path: str) -> str | None:
    """The site's page, picture or API page of a path in the repository; None where there is none."""
    if path in BESIDE:
        return BESIDE[path]
    if path.startswith("docs/") and not path.endswith(".py") and not path.startswith("docs/evidence/"):
        page = re.sub(r"\.ipynb$", ".md", path.removeprefix("docs/"))
        return page if (REPOSITORY / path).is_file() else None
    if path.startswith(f"{PACKAGE}/") and path.endswith(".py"):
        module = path.removeprefix(f"{PACKAGE}/").removesuffix(".py").replace("/", ".")
        return next((f"api/{name}.md" for name in API if module in modules(name)), None)
    return None


def on_page_content(content: str, **_: Any) -> str:
    """Formulas as MathML, which browsers show without a script."""

    def formula(match: re.Match[str]) -> str:
        text = html.unescape(match[2]).strip()
        return convert(text[2:-2], display="block" if match[1] == "div" else "inline")

    return FORMULA.sub(formula, content)
