"""The recipes of docs/clients.md: read from the page, their tools installed once, and carried out against a gateway."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.fixtures.servers import ROOT

PAGE: Final = ROOT / "docs" / "clients.md"
LABELS: Final = "labels.nii.gz"
_GATEWAY: Final = "http://127.0.0.1:8000"
_LEAST_NODE: Final = (20, 19)
_LIMIT_S: Final = 400
_BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILES: Final = {"python": "program.py", "typescript": "program.ts", "javascript": "generate.mjs"}
_TSCONFIG: Final = {
    "compilerOptions": {
        "strict": True,
        "target": "es2022",
        "module": "node16",
        "lib": ["es2022", "dom", "dom.iterable"],
        "types": ["node"],
        "skipLibCheck": True,
        "outDir": "dist",
    },
    "include": ["program.ts"],
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """A section of the page: what to install, how to generate, and the files that stand there, by name."""

    name: str
    installs: tuple[tuple[str, ...], ...]
    commands: tuple[str, ...]
    files: Mapping[str, str]

    @property
    def program(self) -> str:
        """Name of the program's file."""
        return next(name for name in self.files if name.startswith("program"))


def read_recipes() -> list[Recipe]:
    """Every section of the page that has a program."""
    sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    recipes = []
    for section in sections:
        blocks = _BLOCK.findall(section)
        lines = [line for language, text in blocks if language == "bash" for line in text.splitlines()]
        installs = tuple(tuple(line.split()) for line in lines if " install " in line)
        commands = tuple(line for line in lines if " install " not in line)
        files = {_FILES[language]: text for language, text in blocks if language in _FILES}
        if commands:
            recipes.append(Recipe(section.partition("\n")[0], installs, commands, files))
    return recipes


def missing() -> str | None:
    """What this machine lacks for the generators, or None."""
    for tool in ("node", "npm", "java"):
        if shutil.which(tool) is None:
            return f"{tool} is not on the PATH"
    version = _run(("node", "--version"), ROOT, {})
    if tuple(map(int, version.strip().removeprefix("v").split(".")[:2])) < _LEAST_NODE:
        return f"node is {version.strip()}, {'.'.join(map(str, _LEAST_NODE))} or newer is needed"
    return None


class Failed(Exception):
    """A command ended with another code than 0; the text says which, and what it said."""


@dataclass(frozen=True, slots=True)
class Tools:
    """The generators, installed in a folder of the user's cache."""

    folder: Path

    @property
    def python(self) -> Path:
        """The interpreter that has the generators in Python and what their clients need."""
        return self.folder / "venv" / "bin" / "python"

    @property
    def modules(self) -> Path:
        """The packages from npm."""
        return self.folder / "node_modules"

    @property
    def path(self) -> str:
        """A PATH on which all of it stands first."""
        return os.pathsep.join(map(str, (self.python.parent, self.modules / ".bin", os.environ["PATH"])))


def install(recipes: Sequence[Recipe]) -> Tools:
    """What ``recipes`` install, from the cache where it was installed before. Raises ``Failed``."""
    wanted = sorted({(line[0], package) for recipe in recipes for line in recipe.installs for package in line[2:]})
    key = hashlib.sha256(json.dumps([wanted, sys.version, str(ROOT)]).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "falx-tests" / "generators"
    tools = Tools(cache / key)
    complete = tools.folder / "complete"
    if complete.exists():
        return tools
    shutil.rmtree(tools.folder, ignore_errors=True)
    tools.folder.mkdir(parents=True)
    packages = {tool: [package for other, package in wanted if other == tool] for tool in ("pip", "npm")}
    (tools.folder / "package.json").write_text("{}")

    def from_pypi() -> None:
        uv = (sys.executable, "-m", "uv")
        _run((*uv, "venv", "--quiet", "--python", sys.executable, "venv"), tools.folder, {})
        _run((*uv, "pip", "install", "--quiet", "--python", str(tools.python), *packages["pip"]), tools.folder, {})

    def from_npm() -> None:
        _run(("npm", "install", "--no-audit", "--no-fund", "--loglevel=error", *packages["npm"]), tools.folder, {})

    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(from_pypi), pool.submit(from_npm)]:
            done.result()
    complete.touch()
    return tools


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a program printed, word by word, and the label map that it saved; or why it came to nothing."""

    words: tuple[str, ...] = ()
    labels: bytes = b""
    failure: str | None = None


def carry_out(recipe: Recipe, tools: Tools, base_url: str, inputs: Mapping[str, bytes]) -> Outcome:
    """Generate, compile and run ``recipe`` in a folder of its own that holds ``inputs``."""
    with tempfile.TemporaryDirectory(prefix="falx-client-") as name:
        folder = Path(name)
        for file, data in inputs.items():
            (folder / file).write_bytes(data)
        for file, text in recipe.files.items():
            (folder / file).write_text(text, encoding="utf-8")
        (folder / "tsconfig.json").write_text(json.dumps(_TSCONFIG))
        (folder / "node_modules").symlink_to(tools.modules)
        environment = {"PATH": tools.path, "FALX_URL": base_url, "VIRTUAL_ENV": str(tools.python.parents[1])}
        try:
            for command in recipe.commands:
                _run(("sh", "-c", command.replace(_GATEWAY, base_url)), folder, environment)
            _compile(recipe, tools, folder, environment)
            program = ("python", recipe.program) if recipe.program.endswith(".py") else ("node", "dist/program.js")
            printed = _run(program, folder, environment)
        except Failed as error:
            return Outcome(failure=str(error))
        return Outcome(tuple(re.findall(r"[^\s'\[\],]+", printed)), (folder / LABELS).read_bytes())


def _compile(recipe: Recipe, tools: Tools, folder: Path, environment: Mapping[str, str]) -> None:
    if recipe.program.endswith(".ts"):
        _run(("tsc", "--project", "."), folder, environment)
        return
    _run(("python", "-m", "compileall", "-q", "."), folder, environment)
    # The program as strictly as can be, against the types that were generated; how strict those are with themselves is
    # their generator's own affair.
    checks = ("--strict", "--follow-imports=silent", "--python-executable", str(tools.python))
    _run((sys.executable, "-m", "mypy", *checks, recipe.program), folder, environment)


def _run(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> str:
    """What the command printed. Raises ``Failed``."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("FALX_", "PYTHON"))}
    done = subprocess.run(
        command,
        cwd=folder,
        env={**inherited, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
    )
    if done.returncode:
        raise Failed(f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done.stdout
