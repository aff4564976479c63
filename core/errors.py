"""Everything that Falx refuses or fails at, as one tree.

    FalxError
    ├── RequestError                 the caller can change something
    │   ├── InvalidRequest           400  body, query or header is malformed
    │   ├── InvalidImage             400  bytes are not the image they claim to be
    │   │   └── UnusableImage        422  a sound file that no model can use
    │   ├── InvalidDicom             400
    │   ├── NotMr                    422  DICOM of another modality
    │   ├── InvalidNifti             400
    │   │   └── UnusableVolume       422  a sound file that no model can use
    │   ├── TooFewSlices             422  not enough of them to be a volume
    │   ├── MissingSequence          422  no sequence that the model accepts
    │   ├── InconsistentGeometry     422  sequences of different size
    │   ├── UnsupportedMediaType     415
    │   ├── UnsupportedTransferSyntax 415
    │   ├── InputTooLarge            413
    │   ├── DecompressionBomb        413
    │   ├── NotAcceptable            406
    │   ├── RangeNotSatisfiable      416  no byte of the file lies in the range
    │   ├── NotFound                 404
    │   │   └── UnknownModel         404
    │   ├── ResultExpired            410  the job and its files have been erased
    │   ├── JobNotCancellable        409  it has ended already
    │   ├── IdempotencyConflict      409  the first request with the key is still being taken in
    │   ├── IdempotencyKeyReuse      422  the key came with another body before
    │   ├── JobCrashed               422  processing died on every attempt
    │   ├── JobTimedOut              422  processing took longer than a job may
    │   ├── UploadStalled            408  the body came too slowly, or not at all
    │   ├── MethodNotAllowed         405
    │   ├── Unauthorized             401
    │   ├── Forbidden                403
    │   └── RateLimited              429
    ├── CapacityError                the same request may succeed later
    │   ├── QueueFull                429
    │   ├── QuotaExceeded            429  as much as one key may have waiting, or stored
    │   ├── UploadsBusy              503  as many uploads as are taken in at once
    │   ├── QueueUnavailable         503  the job queue cannot be reached
    │   ├── StorageUnavailable       503  the store of inputs and results cannot be reached
    │   ├── StorageFull              507  no room for inputs or results
    │   ├── NotReady                 503  starting or draining
    │   ├── ModelUnavailable         503  a model server cannot be reached
    │   ├── UpstreamError            502  a model server answered nonsense
    │   └── DeadlineExceeded         504
    ├── StoredDataCorrupt            500  what was stored is not what was written
    ├── ResultCorrupt                500  what was written is not what was found
    └── StartupError                 the process must not start
        ├── BundleCorrupt
        ├── ProviderMissing
        └── UnsafeConfiguration

Codes are part of the public contract: they never change once released. HTTP statuses live here because
they are part of the meaning; turning an error into a response happens in ``core.http.problems`` only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One fault inside a request: ``pointer`` names the place (a part, a query parameter, a JSON pointer)."""

    pointer: str
    detail: str


class FalxError(Exception):
    """Base of every error that Falx raises on purpose.

    ``detail`` tells the caller what to change; it never carries patient data. ``retry_after_s`` is a
    duration in seconds, ``headers`` are response headers that belong to the meaning of the error.
    """

    code: ClassVar[str] = "internal-error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.retry_after_s = retry_after_s
        self.headers = dict(headers or {})


class RequestError(FalxError):
    """The caller can mend the request."""


class InvalidRequest(RequestError):
    code, status, title = "invalid-request", 400, "The request is malformed"


class InvalidImage(RequestError):
    code, status, title = "invalid-image", 400, "The image cannot be read"


class UnusableImage(InvalidImage):
    status, title = 422, "The image cannot be used"


class InvalidDicom(RequestError):
    code, status, title = "invalid-dicom", 400, "The DICOM file cannot be read"


class NotMr(RequestError):
    code, status, title = "not-mr", 422, "The file is not an MR image"


class InvalidNifti(RequestError):
    code, status, title = "invalid-nifti", 400, "The NIfTI file cannot be read"


class UnusableVolume(InvalidNifti):
    status, title = 422, "The volume cannot be used"


class TooFewSlices(RequestError):
    code, status, title = "too-few-slices", 422, "The series has too few slices"


class MissingSequence(RequestError):
    code, status, title = "missing-sequence", 422, "A needed sequence is missing"


class InconsistentGeometry(RequestError):
    code, status, title = "inconsistent-geometry", 422, "The sequences do not share one grid"


class UnsupportedMediaType(RequestError):
    code, status, title = "unsupported-media-type", 415, "The media type is not supported"


class UnsupportedTransferSyntax(RequestError):
    code, status, title = "unsupported-transfer-syntax", 415, "The DICOM transfer syntax is not supported"


class InputTooLarge(RequestError):
    code, status, title = "input-too-large", 413, "The input is too large"


class DecompressionBomb(RequestError):
    code, status, title = "decompression-bomb", 413, "The file expands beyond the limit"


class NotAcceptable(RequestError):
    code, status, title = "not-acceptable", 406, "No representation matches Accept"


class RangeNotSatisfiable(RequestError):
    code, status, title = "range-not-satisfiable", 416, "The range lies outside the file"


class NotFound(RequestError):
    code, status, title = "not-found", 404, "There is nothing at this address"


class UnknownModel(NotFound):
    code, title = "unknown-model", "The model is not served here"


class ResultExpired(RequestError):
    code, status, title = "result-expired", 410, "The job has been erased"


class JobNotCancellable(RequestError):
    code, status, title = "job-not-cancellable", 409, "The job has already ended"


class IdempotencyConflict(RequestError):
    code, status, title = "idempotency-conflict", 409, "The first request with this key is still being taken in"


class IdempotencyKeyReuse(RequestError):
    code, status, title = "idempotency-key-reuse", 422, "The idempotency key was used with another body"


class JobCrashed(RequestError):
    code, status, title = "job-crashed", 422, "The input cannot be processed"


class JobTimedOut(RequestError):
    code, status, title = "job-timed-out", 422, "The job took too long"


class UploadStalled(RequestError):
    code, status, title = "upload-stalled", 408, "The upload came to a standstill"


class MethodNotAllowed(RequestError):
    code, status, title = "method-not-allowed", 405, "The method is not allowed"


class Unauthorized(RequestError):
    code, status, title = "unauthorized", 401, "A valid API key is needed"


class Forbidden(RequestError):
    code, status, title = "forbidden", 403, "The API key lacks the scope"


class RateLimited(RequestError):
    code, status, title, retryable = "rate-limited", 429, "Too many requests", True


class CapacityError(FalxError):
    """Nothing is wrong with the request; the same request may succeed later."""

    retryable = True


class QueueFull(CapacityError):
    code, status, title = "queue-full", 429, "The queue is full"


class QuotaExceeded(CapacityError):
    code, status, title = "quota-exceeded", 429, "The key has used up its quota"


class UploadsBusy(CapacityError):
    code, status, title = "uploads-busy", 503, "Too many uploads at once"


class QueueUnavailable(CapacityError):
    code, status, title = "queue-unavailable", 503, "The job queue is unavailable"


class StorageUnavailable(CapacityError):
    code, status, title = "storage-unavailable", 503, "The storage is unavailable"


class StorageFull(CapacityError):
    code, status, title = "storage-full", 507, "The storage is full"


class NotReady(CapacityError):
    code, status, title = "not-ready", 503, "The service is not ready"


class ModelUnavailable(CapacityError):
    code, status, title = "model-unavailable", 503, "The model server is unavailable"


class UpstreamError(CapacityError):
    code, status, title = "upstream-error", 502, "The model server failed"


class DeadlineExceeded(CapacityError):
    code, status, title = "deadline-exceeded", 504, "The deadline has passed"


class StoredDataCorrupt(FalxError):
    """A stored file does not have the sha256 that it was written with; the caller reads of an internal error."""


class ResultCorrupt(FalxError):
    """A result does not read back as what it was made of; the caller reads of an internal error."""


class StartupError(FalxError):
    """The process must not start; shown to the operator, never to a caller."""

    code, title = "startup-error", "The service cannot start"


class BundleCorrupt(StartupError):
    code, title = "bundle-corrupt", "A model bundle does not match its manifest"


class ProviderMissing(StartupError):
    code, title = "provider-missing", "The required execution provider is not active"


class UnsafeConfiguration(StartupError):
    code, title = "unsafe-configuration", "The configuration would expose the service"


def public_codes() -> tuple[str, ...]:
    """Every code that a caller may read, in alphabetical order."""
    return tuple(sorted({kind.code for kind in _descendants(FalxError) if not issubclass(kind, StartupError)}))


def _descendants(kind: type[FalxError]) -> set[type[FalxError]]:
    return {kind}.union(*(_descendants(child) for child in kind.__subclasses__()))
