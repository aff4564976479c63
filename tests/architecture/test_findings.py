"""The form of findings that findings/README.md asks for; running them is left to people, they install packages."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FINDINGS = sorted((ROOT / "findings").glob("*.sh"))
README = (ROOT / "findings" / "README.md").read_text()
# Script, packages with versions, and the two sentences.
ROW = re.compile(r"^\| \[(?P<name>[^]]+)]\((?P=name)\) \| (?P<seen>[^|]+) \| [^|]+ \| [^|]+ \|$", re.MULTILINE)
INSTALL = re.compile(r"pip\" install (?P<arguments>(?:[^;\\]|\\\n)+);")
HEREDOC = re.compile(r"<<'PYTHON'\n(?P<code>.*)\nPYTHON\n\Z", re.DOTALL)

every_finding = pytest.mark.parametrize("path", FINDINGS, ids=lambda path: path.stem)


def pins(path: Path) -> dict[str, str]:
    """Packages that a finding installs and their versions, empty where one is not pinned."""
    (match,) = INSTALL.finditer(path.read_text())
    packages = [word for word in match["arguments"].replace("\\\n", " ").split() if not word.startswith("--")]
    return {name: version for name, _, version in (package.partition("==") for package in packages)}


def test_the_table_lists_every_finding_once() -> None:
    assert FINDINGS
    assert sorted(row["name"] for row in ROW.finditer(README)) == [path.name for path in FINDINGS]


def test_the_tests_that_the_table_names_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", README))
    written = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert named
    assert {name for name in named if f"def {name}(" not in written} == set()


@every_finding
def test_a_finding_can_be_run(path: Path) -> None:
    assert os.access(path, os.X_OK)
    assert path.read_text().startswith("#!/usr/bin/env bash\n# ")
    subprocess.run(["bash", "-n", path], check=True)
    code = HEREDOC.search(path.read_text())
    assert code, "the last thing in a finding is Python between <<'PYTHON' and PYTHON"
    ast.parse(code["code"])


@every_finding
def test_a_finding_cleans_up(path: Path) -> None:
    text = path.read_text()
    assert "set -euo pipefail" in text
    assert "tmp=$(mktemp -d)\ntrap 'rm -rf \"$tmp\"' EXIT\n" in text


@every_finding
def test_a_finding_pins_its_packages_as_the_table_says(path: Path) -> None:
    versions = pins(path)
    assert all(re.fullmatch(r"\d[\w.]*", version) for version in versions.values()), versions
    (seen,) = (row["seen"] for row in ROW.finditer(README) if row["name"] == path.name)
    for package in seen.split(", "):
        name, version = package.split(" ")
        assert versions.get(name) == version, package


@every_finding
def test_a_finding_says_what_it_was_seen_with(path: Path) -> None:
    header = path.read_text().split("set -euo pipefail")[0]
    (seen,) = re.findall(r"^# Seen with (.+)$", header, re.MULTILINE)
    assert set(re.findall(r"\d+(?:\.\d+)+", seen)) <= set(pins(path).values())
    assert "# It matters because " in header or "# It matters for " in header


@every_finding
def test_a_finding_stands_without_the_product(path: Path) -> None:
    assert "falx" not in path.read_text().lower()
