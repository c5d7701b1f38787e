"""Dependencies: each has a stated reason, each that the code imports is declared, none is bounded above without one."""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from importlib.metadata import packages_distributions

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import REPOSITORY

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PAGE = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8").split("## Dependencies")[1]


def declared() -> dict[str, dict[str, Requirement]]:
    """Extra ("" for none) -> name -> requirement; `all` only names the others."""
    groups = {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
    return {
        extra: {canonicalize_name(r.name): r for r in map(Requirement, lines)}
        for extra, lines in groups.items()
        if extra != "all"
    }


def test_every_dependency_has_a_stated_reason_and_nothing_else_has() -> None:
    stated = defaultdict(list)
    for names, reason in re.findall(r"^\| (.+?) \| (.+?) \|$", PAGE, flags=re.MULTILINE)[1:]:
        extra, packages = re.fullmatch(r"(?:`(\w+)`: )?(.+)", names).groups("")
        assert len(reason) > 5, names
        stated[extra] += [canonicalize_name(package) for package in re.sub(r" \(.+?\)", "", packages).split(", ")]
    assert {extra: sorted(names) for extra, names in stated.items()} == {
        extra: sorted(requirements) for extra, requirements in declared().items()
    }


def test_what_the_package_imports_is_declared() -> None:
    providers = packages_distributions()
    known = {name for requirements in declared().values() for name in requirements}
    undeclared = set()
    for file in (REPOSITORY / "nnunetv2_textguided").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            for top in {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"nnunetv2_textguided"}:
                distributions = {canonicalize_name(name) for name in providers.get(top, [top])}
                if not distributions & known:
                    undeclared.add(f"{top} in {file.relative_to(REPOSITORY)}")
    assert sorted(undeclared) == []


def test_every_dependency_has_a_lower_bound_and_an_upper_one_only_where_the_page_says_why() -> None:
    said = PAGE.split("An upper bound stands only where one is proved:")[1]
    for requirements in declared().values():
        for name, requirement in requirements.items():
            operators = {bound.operator for bound in requirement.specifier}
            assert ">=" in operators, requirement
            upper = [bound.version for bound in requirement.specifier if bound.operator != ">="]
            assert upper == re.findall(rf"\b{re.escape(name)} below ([\d.]+\d)", said), requirement
