"""The prose: lines of bearable length, links that lead somewhere, decisions in one form, figures as measured."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.contracts.manifest import Manifest, Metric

ROOT = Path(__file__).parents[2]
LINE = 120
SCREEN = 60
DECISIONS = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
SECTIONS = ["Context", "Decision", "Consequences", "Status"]
FENCE = re.compile(r"^\s*```")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
NAMED_DECISION = re.compile(r"docs/adr/(\d{4})")


def tracked(*patterns: str) -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for name in listing.stdout.splitlines() if (path := ROOT / name).is_file()]


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines of a page without its code. Four blanks are code only after a blank line and outside a list."""
    fenced = listed = code = False
    before = ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fenced ^= bool(FENCE.match(line))
        if line and not line.startswith(" "):
            listed = bool(re.match(r"[-*+]\s|\d+\.\s", line))
        code = line.startswith("    ") and not listed and (code or not before)
        if not (fenced or FENCE.match(line) or code):
            yield number, line
        before = line


def test_lines_of_prose_are_short() -> None:
    """But for rows of tables, and for words that cannot be broken, such as an address."""
    long = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked("*.md")
        for number, line in prose(path)
        if len(line) > LINE and not line.startswith("|") and " " in line.strip()
    ]
    assert long == []


def anchors(path: Path) -> set[str]:
    """What a fragment may name: headings in lower case, without punctuation, blanks as hyphens."""
    titles = [line.lstrip("#").strip() for _, line in prose(path) if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_links(path: Path) -> Iterator[str]:
    text = "\n".join(line for _, line in prose(path))
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:|/", target):
            continue
        name, _, fragment = target.partition("#")
        linked = (path.parent / name).resolve() if name else path
        if not linked.exists() or (fragment and fragment not in anchors(linked)):
            yield f"{path.relative_to(ROOT)}: {target}"


def test_links_lead_somewhere() -> None:
    assert [link for path in tracked("*.md") for link in broken_links(path)] == []


def test_decisions_that_are_named_exist() -> None:
    known = {path.name[:4] for path in DECISIONS}
    named = {
        (str(path.relative_to(ROOT)), number)
        for path in tracked("*.md", "*.py", "*.toml")
        for number in NAMED_DECISION.findall(path.read_text(encoding="utf-8"))
    }
    assert {(path, number) for path, number in named if number not in known} == set()


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.name[:4])
def test_decisions_have_one_form(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert re.match(rf"# {path.name[:4]}: \S", lines[0])
    assert [line.removeprefix("## ") for line in lines if line.startswith("## ")] == SECTIONS
    assert re.search(r"^Accepted, \d{4}-\d\d-\d\d\.", "\n".join(lines), flags=re.MULTILINE)
    assert len(lines) <= SCREEN


def rows(path: Path) -> list[list[str]]:
    """Cells of every row of every table of a page."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_decisions_stand_in_their_index() -> None:
    index = {row[0]: row[1] for row in rows(ROOT / "docs" / "adr" / "README.md")[2:]}
    titles = {path: path.read_text(encoding="utf-8").splitlines()[0].partition(": ")[2] for path in DECISIONS}
    assert index == {f"[{path.name[:4]}]({path.name})": title for path, title in titles.items()}


# The README's words for a figure, by bundle: what the manifest calls it.
FIGURES = {
    ("tumor-classifier", "accuracy, four classes"): ("accuracy", "four-source slices"),
    ("tumor-classifier", "balanced accuracy"): ("balanced_accuracy", "four-source slices"),
    ("tumor-classifier", "accuracy"): ("accuracy", "slices of figshare"),
    ("tumor-classifier-6", "balanced accuracy, with neurocytoma and schwannoma"): (
        "balanced_accuracy",
        "four-source slices",
    ),
    ("tumor-segmenter", "volumetric Dice, mean (T1, T1c, FLAIR)"): (
        "volumetric Dice a patient, mean (t1+t1ce+flair)",
        "TCGA-LGG",
    ),
    ("tumor-segmenter", "volumetric Dice, mean (FLAIR alone)"): (
        "volumetric Dice a patient, mean (flair alone)",
        "TCGA-LGG",
    ),
    ("tumor-segmenter", "volumetric Dice, mean (FLAIR as one grey image)"): (
        "volumetric Dice a patient, mean (flair as a grey image)",
        "TCGA-LGG",
    ),
    ("tumor-segmenter", "Dice on tumour slices (T1c)"): ("Dice on tumour slices (t1ce)", "Figshare"),
    ("tumor-segmenter", "Dice on tumour slices (one grey image)"): (
        "Dice on tumour slices (as a grey image)",
        "Figshare",
    ),
    ("tumor-segmenter", "slices with a false outline (one grey image)"): (
        "false-positive slices, share (as a grey image)",
        "heads without tumour",
    ),
    ("tumor-volume", "volumetric Dice, mean, whole tumour (T1, T1c, FLAIR)"): (
        "volumetric Dice a patient, mean (whole tumor, t1+t1ce+flair)",
        "TCGA-LGG stacks",
    ),
    ("tumor-volume", "volumetric Dice, mean, whole tumour (FLAIR alone)"): (
        "volumetric Dice a patient, mean (whole tumor, flair alone)",
        "TCGA-LGG stacks",
    ),
    ("tumor-volume", "volumetric Dice, mean, whole tumour (four sequences)"): (
        "volumetric Dice a patient, mean (whole tumor, t1+t1ce+t2+flair)",
        "BraTS 2021",
    ),
}


def stated() -> dict[tuple[str, str], list[str]]:
    """The README's table of accuracy: count, value with interval, and int8, by bundle and figure."""
    found = {}
    bundle = ""
    for model, *cells in rows(ROOT / "README.md"):
        link = re.search(r"\(models/([\w-]+)/1/CARD\.md\)", model)
        bundle = link[1] if link else bundle if not model else ""
        if bundle and len(cells) == 5:
            found[bundle, cells[0]] = cells[2:]
    return found


def measured(bundle: str, name: str, data_set: str) -> list[str]:
    folder = ROOT / "models" / bundle / "1"
    metrics = Manifest.model_validate_json((folder / "manifest.json").read_bytes()).metrics
    metric: Metric = next(item for item in metrics if (item.name, item.data_set) == (name, data_set))
    assert metric.interval is not None
    low, high = metric.interval
    int8 = next(row[5] for row in rows(folder / "CARD.md") if row[:2] == [name, data_set])
    return [
        f"{metric.count} {metric.count_unit}",
        f"{metric.value:.3f} ({low:.3f} to {high:.3f})",
        int8 or "\N{EN DASH}",
    ]


def test_the_readme_states_what_was_measured() -> None:
    assert stated() == {(bundle, words): measured(bundle, *figure) for (bundle, words), figure in FIGURES.items()}
