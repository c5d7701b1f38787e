"""Random damage to what nnU-Net and this package write: a value replaced, a key missing, misspelt or added."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

from nnunetv2_textguided.errors import TextGuidedError

TEXT = st.text(st.characters(), max_size=8)  # includes control characters and half surrogate pairs
# No number between: a width of a billion is no error, it only takes the memory that it asks for.
NUMBERS = st.sampled_from([-(2**63), -1, 0, 1, 2, 3, 2**63, 10**30, 0.5, -0.0, 1e308])
DEEP: Any = None
for _ in range(200):
    DEEP = [DEEP]
JUNK = st.one_of(
    *(st.none(), st.booleans(), NUMBERS, TEXT, st.just(DEEP)),
    st.sampled_from([float("nan"), float("inf"), "", "os.system", "torch.nn.Conv3d", "3d_fullres", "../../x"]),
    st.lists(NUMBERS | TEXT, max_size=4),
    st.dictionaries(TEXT, NUMBERS | TEXT, max_size=3),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to all values inside nested dictionaries and lists."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, child in children for place in [(*path, key), *places(child, (*path, key))]]


@st.composite
def mutated(draw: st.DrawFn, original: Any, most: int = 3) -> Any:
    """`original` with one to `most` changes."""
    value = deepcopy(original)
    for _ in range(draw(st.integers(1, most))):
        options = places(value)
        if not options:
            return draw(JUNK)
        *path, key = draw(st.sampled_from(options))
        holder = value
        for step in path:
            holder = holder[step]
        change = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        if change == "replace":
            holder[key] = deepcopy(draw(JUNK))
        elif change == "remove":
            del holder[key]
        elif isinstance(holder, dict):
            holder[draw(TEXT)] = deepcopy(draw(JUNK))
        else:
            holder.append(deepcopy(draw(JUNK)))
    return value


def assert_clear(error: TextGuidedError) -> None:
    """What, where and what to do, in characters that any terminal can be sent."""
    message = str(error).encode("utf-8").decode("utf-8")
    assert error.what.strip(), repr(error)
    assert error.where is not None, repr(error)
    assert error.remedy, repr(error)
    assert "where: " in message
    assert "what to do: " in message
