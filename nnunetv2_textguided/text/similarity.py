"""The cosine matrix of prompts, as a table and as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nnunetv2_textguided.files import atomic_path
from nnunetv2_textguided.text.bank import CONTEXT, PromptBank
from nnunetv2_textguided.text.embeddings import TextEmbeddings

MAX_TABLE = 40
"""Larger matrices are for the picture."""


def prompt_table(bank: PromptBank) -> str:
    """The prompts of a bank, one per line, numbered and grouped by label."""
    lines, last = [], None
    for row, (prompt, index) in enumerate(zip(bank.prompts, bank.prompt_label, strict=True)):
        if index != last:
            lines.append("context" if index == CONTEXT else f"label {bank.labels[index]}")
            last = index
        lines.append(f"  {row:3d}  {prompt}")
    return "\n".join(lines)


def cosine_table(embeddings: TextEmbeddings) -> str:
    """The cosine matrix with the numbers of `prompt_table`, in per cent."""
    count = len(embeddings.bank.prompts)
    if count > MAX_TABLE:
        return f"({count} prompts: too many for a table; use --picture FILE)"
    cosines = np.rint(100 * embeddings.pooled @ embeddings.pooled.T).astype(int)
    lines = ["cosine x 100", "     " + "".join(f"{column:4d}" for column in range(count))]
    lines += [f"{row:4d} " + "".join(f"{value:4d}" for value in cosines[row]) for row in range(count)]
    return "\n".join(lines)


def draw_cosines(embeddings: TextEmbeddings, path: str | Path, title: str) -> None:
    """Write the cosine matrix as a picture, groups separated by lines (format by suffix, PNG by habit)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    bank, count = embeddings.bank, len(embeddings.bank.prompts)
    size = min(4 + 0.28 * count, 40)
    figure = Figure(figsize=(size + 3, size), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(embeddings.pooled @ embeddings.pooled.T, vmin=-1, vmax=1, cmap="RdBu_r")
    figure.colorbar(image, ax=axes, label="cosine", shrink=0.8)
    groups = np.array(bank.prompt_label)
    for border in np.flatnonzero(np.diff(groups)) + 0.5:
        axes.axhline(border, color="black", linewidth=1)
        axes.axvline(border, color="black", linewidth=1)
    names = [p if len(p) <= 48 else f"{p[:45]}..." for p in bank.prompts]
    owners = ["context" if i == CONTEXT else bank.labels[i] for i in bank.prompt_label]
    # A dollar sign would switch matplotlib to formulas.
    ticks = [
        f"{owner}: {name}  {row}".replace("$", r"\$")
        for row, (owner, name) in enumerate(zip(owners, names, strict=True))
    ]
    axes.set_yticks(range(count), ticks, fontsize=7)
    axes.set_xticks(range(count), [str(i) for i in range(count)], fontsize=6, rotation=90)
    axes.set_title(title.replace("$", r"\$"), fontsize=9)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
