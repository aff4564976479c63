"""The house rules of CONTRIBUTING.md that a machine can hold."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("core", "gateway", "classifier_service", "segmenter_service", "training", "benchmarks", "deploy")
DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{path.relative_to(ROOT)}:{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


def test_functions_are_short() -> None:
    lengths = dict(item for path in sources(*PACKAGES) for item in functions(path))
    assert {name: lines for name, lines in lengths.items() if lines > 80} == {}
    assert statistics.quantiles(lengths.values(), n=10)[-1] < 40


def test_files_are_short() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources(*PACKAGES)}
    assert {name: lines for name, lines in lengths.items() if lines > 500} == {}
    assert statistics.quantiles(lengths.values(), n=10)[-1] < 300


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


def tracked_text() -> list[Path]:
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    suffixes = {".py", ".md", ".toml", ".yml", ".yaml", ".cfg", ".html", ".css", ".js", ".json", ".sh", ""}
    return [
        ROOT / name
        for name in listing.stdout.splitlines()
        if Path(name).suffix in suffixes and not name.startswith(".ci/")
    ]


def test_the_project_stands_alone() -> None:
    """No file may lean on a folder beside the checkout or on a path of one machine."""
    foreign = re.compile(r"\.\./sh" r"ared|(?<![\w.])/(?:work|farm)/")
    found = [path for path in tracked_text() if path.is_file() and foreign.search(path.read_text(errors="ignore"))]
    assert found == []
