"""The packages of sve2hdr: which of them know which others."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

CODE = Path(__file__).parents[1] / "sve2hdr"
TASKS = {"commands", "evaluation", "folders", "simulation", "training", "video"}  # all else is what these need


def imported(module: Path) -> set[str]:
    """Return the packages that a module imports from, without its own."""
    own = module.relative_to(CODE).parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            within = own[: len(own) - node.level + 1]
            found.add((*within, *(node.module or "").split("."))[0])
    return {name for name in found - {*own, ""} if (CODE / name / "__init__.py").is_file()}


def test_no_package_imports_one_that_imports_it() -> None:
    packages = {path.parent.name: path.parent for path in CODE.glob("*/__init__.py")}
    assert packages.keys() > TASKS
    known = {name: set[str]().union(*map(imported, path.glob("*.py"))) for name, path in packages.items()}
    order = [*TopologicalSorter(known).static_order()]  # raises CycleError
    assert set(order) == set(packages)


def test_the_way_of_the_pixels_knows_no_task_that_it_is_used_for() -> None:
    modules = [path for path in CODE.glob("*.py") if path.name != "__main__.py"]
    assert {path.name: imported(path) & TASKS for path in modules if imported(path) & TASKS} == {}
