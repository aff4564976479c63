"""What a store holds that its callers do not see."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path

from core.blobs.settings import BlobSettings

# Of the S3 server that tests start.
BUCKET = "falx-test"


def unfinished(settings: BlobSettings) -> list[str]:
    """What uploads that have not ended have left: staged files, or multipart uploads."""
    if settings.blobs_endpoint is None:
        return [path.name for path in Path(settings.blobs_url).rglob("*#*")]
    with urllib.request.urlopen(f"{settings.blobs_endpoint}/{BUCKET}?uploads") as answer:
        return re.findall(r"<Key>([^<]*)</Key>", answer.read().decode())
