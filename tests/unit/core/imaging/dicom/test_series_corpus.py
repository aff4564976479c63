"""The choice among series, scored on names and headers that were collected before its rules were written.

One for the other of T1 and enhanced T1 is never right; what is in doubt may stay open.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.support.series_choice import chosen_of, outcome
from tests.support.series_corpus import FOLDER, load_rows, load_studies, score_studies

# Of what is not right, so much may be wrong; the rest has to stay open.
MOST_WRONG = 0.03
LEAST_RIGHT = {"development": 0.97, "aside": 0.85}
LEAST_BEST = {"development": 0.95, "aside": 0.8}


def part(name: str, kind: str = "") -> Path:
    path = FOLDER / f"{kind}{name}.jsonl"
    if not path.exists():
        pytest.skip(f"{path.name} is not here")
    return path


@pytest.mark.parametrize("name", ["development", "aside"])
def test_series_by_their_own_headers(name: str) -> None:
    rows = load_rows(part(name))
    counts = Counter(map(outcome, rows))
    assert len(rows) >= 100
    assert counts["swapped"] == 0, counts
    assert counts["wrong"] <= MOST_WRONG * len(rows), counts
    assert counts["right"] + counts["opened_ok"] >= LEAST_RIGHT[name] * len(rows), counts


@pytest.mark.parametrize("name", ["development", "aside"])
def test_studies(name: str) -> None:
    found = score_studies(load_studies(part(name, "studies_")), chosen_of)
    assert found.total >= 20
    assert found.swapped == 0, found.faults
    assert found.wrong <= MOST_WRONG * found.total, found.faults
    assert found.best + found.missing >= LEAST_BEST[name] * found.total, found.faults
