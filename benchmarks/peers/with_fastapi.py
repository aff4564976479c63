"""Plain FastAPI: the endpoint runs in the thread pool, one process with the session of the others."""

from __future__ import annotations

from typing import Annotated, Any

import uvicorn
from fastapi import Body, FastAPI

from benchmarks.peers.classify import PORT, open_session, prepare, run

app = FastAPI()
session = open_session()


@app.post("/classify")
def classify(data: Annotated[bytes, Body(media_type="image/jpeg")]) -> dict[str, Any]:
    """One image file as the body."""
    return run(session, [prepare(data)])[0]


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning", access_log=False)
