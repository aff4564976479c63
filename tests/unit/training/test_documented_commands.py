"""The guides for training: every command in them is one, with options that it has, and their recipe is valid."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from training import cli
from training.recipe import parse_recipe

ROOT = Path(__file__).resolve().parents[3]
GUIDES = [ROOT / name for name in ("training/README.md", "training/recipes/README.md", "docs/add-a-model.md")]


def commands(page: Path) -> Iterator[list[str]]:
    """What follows ``python -m training`` in the code of a page, lines that go on joined."""
    text = page.read_text().replace("\\\n", " ")
    for line in re.findall(r"^(?: {4}| {8})?python -m training (.+)$", text, re.MULTILINE):
        yield shlex.split(line, comments=True)


@pytest.mark.parametrize("page", GUIDES, ids=lambda path: path.name)
def test_commands_are_known(page: Path) -> None:
    for words in commands(page):
        command: Any = typer.main.get_command(cli.app)
        rest = list(words)
        while hasattr(command, "commands"):
            assert rest[0] in command.commands, f"{page}: {' '.join(words)}"
            command = command.commands[rest.pop(0)]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= options, f"{page}: {' '.join(words)}"


def test_the_guides_name_commands() -> None:
    assert min(len(list(commands(page))) for page in (GUIDES[0], GUIDES[2])) > 5


def test_the_recipe_of_the_guide_is_one() -> None:
    page = GUIDES[2].read_text()
    whole, sets = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    recipe = parse_recipe(whole.replace("\n[[data]]", f"{sets}\n[[data]]"), "add-a-model.md")
    (step,) = recipe.steps
    assert recipe.bundle.name == "my-model"
    assert recipe.label_sets["my-model-two"] == ("cyst", "abscess")
    assert step.inputs == ()
