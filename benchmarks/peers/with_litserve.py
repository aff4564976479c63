"""LitServe: one worker process for each core, which batches."""

# LitServe looks at annotations as they stand, so they are not put off here.
from typing import Annotated, Any

import litserve
from fastapi import Body

from benchmarks.peers.classify import BATCH, PORT, WAIT_MS, WORKERS, Image, open_session, prepare, run


class Classify(litserve.LitAPI):
    """Bytes in, JSON out; LitServe hands over lists of images."""

    def setup(self, device: str) -> None:
        """Once in each worker."""
        del device
        self.session = open_session()

    def decode_request(self, request: Annotated[bytes, Body(media_type="image/jpeg")]) -> Image:
        """One image file as the body."""
        return prepare(request)

    def batch(self, inputs: list[Image]) -> list[Image]:
        """Left as a list: ``run`` stacks it."""
        return inputs

    def predict(self, inputs: list[Image]) -> list[dict[str, Any]]:
        """One run for the batch."""
        return run(self.session, inputs)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One answer for each image."""
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """Sent as JSON."""
        return output


if __name__ == "__main__":
    api = Classify(max_batch_size=BATCH, batch_timeout=WAIT_MS / 1000, api_path="/classify")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=WORKERS)
    server.run(host="127.0.0.1", port=PORT, generate_client_file=False, log_level="warning")
