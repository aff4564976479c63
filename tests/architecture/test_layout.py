"""The house rules of CONTRIBUTING.md that a machine can hold."""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.tracked import ROOT, tracked

PACKAGES = ("core", "gateway", "classifier_service", "segmenter_service", "training", "benchmarks", "deploy", "drills")
LONGEST_FUNCTION = 60
LONGEST_FILE = 400
# Files that lie in a folder itself and not in one of its rooms.
MOST_LOOSE_MODULES = 14
ROOMS = ("training", "core/imaging", "core/serving", "segmenter_service")
DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{path.relative_to(ROOT)}:{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


@pytest.mark.parametrize("folders", [PACKAGES, ("tests",)], ids=["sources", "tests"])
def test_functions_are_short(folders: tuple[str, ...]) -> None:
    lengths = dict(item for path in sources(*folders) for item in functions(path))
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FUNCTION} == {}
    assert statistics.quantiles(lengths.values(), n=10)[-1] < 40


@pytest.mark.parametrize("folders", [PACKAGES, ("tests",)], ids=["sources", "tests"])
def test_files_are_short(folders: tuple[str, ...]) -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources(*folders)}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE} == {}
    assert statistics.quantiles(lengths.values(), n=10)[-1] < 300


@pytest.mark.parametrize("folder", ROOMS)
def test_big_folders_have_rooms(folder: str) -> None:
    loose = sorted(path.name for path in (ROOT / folder).glob("*.py"))
    assert loose, f"{folder} is not there any more"
    assert len(loose) <= MOST_LOOSE_MODULES, loose


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_say_what_they_are_for(package: str) -> None:
    silent = [
        path
        for path in sources(package)
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_public_names_of_core_are_documented() -> None:
    silent = []
    for path in sources("core"):
        definitions = [node for node in ast.parse(path.read_text()).body if isinstance(node, DEFINITIONS)]
        public = [node for node in definitions if not node.name.startswith("_") and path.name != "errors.py"]
        silent += [f"{path.relative_to(ROOT)}:{node.name}" for node in public if not ast.get_docstring(node)]
    assert silent == []


def test_the_project_stands_alone() -> None:
    """No file may lean on a folder beside the checkout or on a path of one machine."""
    foreign = re.compile(r"\.\./sh" r"ared|(?<![\w.])/(?:work|farm)/")
    suffixes = {".py", ".md", ".toml", ".yml", ".yaml", ".cfg", ".html", ".css", ".js", ".json", ".sh", ""}
    files = [path for path in tracked() if path.suffix in suffixes and ROOT / ".ci" not in path.parents]
    found = [path for path in files if foreign.search(path.read_text(errors="ignore"))]
    assert found == []
