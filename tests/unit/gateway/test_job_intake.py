"""What of a request makes it another request."""

from __future__ import annotations

from core.contracts.jobs import JobRequest
from gateway.jobs.intake import Received


def test_what_is_said_of_series_belongs_to_the_digest() -> None:
    bodies = [{}, {"1.2": "flair"}, {"1.2": "t1"}, {"1.2": None}, {"1.3": "flair"}]
    digests = {Received(JobRequest.model_validate({"series": series})).digest for series in bodies}
    assert len(digests) == len(bodies)
    one, other = ({"1.2": "t1", "1.3": None}, {"1.3": None, "1.2": "t1"})
    assert (
        Received(JobRequest.model_validate({"series": one})).digest
        == Received(JobRequest.model_validate({"series": other})).digest
    )
