"""``python -m segmenter_service.slices.looking KIND FD``: looks at one study and says which series a job would take.

A process of its own, so that a study of a gigabyte or a hostile one takes neither the server's time nor its memory, and
can be ended. The study is the file at the descriptor FD; the series that the caller names come as JSON on stdin, and
the answer, or what is wrong with the study, goes to stdout.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import Any, Final

from core.contracts.operations.studies import DICOM_JSON
from core.errors import FalxError, RequestError
from core.imaging.dicom.metadata import read_metadata
from core.imaging.dicom.study import Preview, preview_metadata, preview_study

# Slices that somebody waits for go first.
_NICENESS: Final = 5


def main() -> None:
    """Look at the study that the arguments name."""
    os.nice(_NICENESS)
    kind, descriptor = sys.argv[1], int(sys.argv[2])
    named: dict[str, str | None] = json.load(sys.stdin)
    try:
        with os.fdopen(descriptor, "rb") as file:
            file.seek(0)
            found = (
                preview_metadata(read_metadata(file.read()))
                if kind == DICOM_JSON
                else preview_study(file, series=named)
            )
        answer: dict[str, Any] = {"selection": _described(found)}
    except RequestError as error:
        answer = {"error": _told(error)}
    json.dump(answer, sys.stdout)


def _described(found: Preview) -> dict[str, Any]:
    """The fields of ``SeriesSelection``."""
    chosen = [asdict(source) for source in found.sources]
    left_open = [
        {
            "sequence": one.sequence,
            "missing": one.reasons,
            "alternatives": [asdict(other) for other in one.alternatives],
        }
        for one in found.left_open
    ]
    refusal = found.refusal
    return {
        "sequences": chosen + left_open,
        "warnings": found.warnings,
        "refusal": None if refusal is None else {"code": refusal.code, "detail": refusal.detail},
    }


def _told(error: FalxError) -> dict[str, Any]:
    return {
        "kind": type(error).__name__,
        "code": error.code,
        "status": error.status,
        "detail": error.detail,
        "errors": [[fault.pointer, fault.detail] for fault in error.errors],
    }


if __name__ == "__main__":
    main()
