"""BentoML: one worker process for each core; ``bentoml serve benchmarks.peers.with_bentoml:Classify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import bentoml
from bentoml.validators import ContentType

from benchmarks.peers.classify import WORKERS, open_session, prepare, run


@bentoml.service(workers=WORKERS)
class Classify:
    """One image file as the body of ``/classify``."""

    def __init__(self) -> None:
        self.session = open_session()

    @bentoml.api
    def classify(self, data: Annotated[Path, ContentType("image/jpeg")], /) -> dict[str, Any]:
        """BentoML hands over the body as a file."""
        return run(self.session, [prepare(data.read_bytes())])[0]
