"""mosec: one worker process for each core, which batches."""

from __future__ import annotations

from typing import Any

from mosec import Server, Worker

from benchmarks.peers.classify import BATCH, WAIT_MS, WORKERS, Image, open_session, prepare, run


class Classify(Worker):
    """Bytes in, JSON out; mosec hands over lists of images."""

    def __init__(self) -> None:
        super().__init__()
        self.session = open_session()

    def deserialize(self, data: bytes) -> Image:
        """Decoded in the worker."""
        return prepare(data)

    def forward(self, data: list[Image]) -> list[dict[str, Any]]:
        """One run for the batch."""
        return run(self.session, data)


if __name__ == "__main__":
    server = Server()
    server.append_worker(Classify, num=WORKERS, max_batch_size=BATCH, max_wait_time=WAIT_MS)
    server.run()
