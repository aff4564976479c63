"""Every ``FALX_`` variable that means something to some part of Falx, so that a misspelt one stops the start.

A service knows its own settings alone, and is often started with those of the others beside them: it can tell a foreign
setting from a wrong one by this list only. A test holds it against the settings where they are defined.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

PREFIX: Final = "FALX_"

_SERVICES: Final = """
    allow_anonymous allowed_hosts api_keys_file audit_log blobs_endpoint blobs_max_bytes blobs_min_free_bytes
    blobs_url catalogue_ttl_s circuit_failures circuit_reset_s classifier_port classifier_url connect_timeout_s
    cors_origins data_dir decode_threads dicom_labelmap dicom_presentation drain_delay_s drain_timeout_s
    expected_run_s gate_dir host idempotency_ttl_s job_drain_s job_lease_s job_max_attempts job_retention_s
    job_retry_delay_s job_timeout_s job_tombstone_s job_types jobs_name keep_alive_s log_level lone_threads
    max_batch max_files_per_request max_header_bytes max_image_bytes max_image_pixels max_image_side max_job_bytes
    max_metadata_bytes max_queue max_queued_jobs max_request_bytes max_request_timeout_s max_selections max_uploads
    max_volume_bytes metrics_public models models_dir openapi parent_fd port precision probe_timeout_s
    problems_file provider rate_limit readiness_interval_s redis_timeout_s redis_url replay_limit_bytes
    request_timeout_s require_cuda segmenter_port segmenter_url shutdown_grace_s start_timeout_s upload_idle_s
    upload_least_rate upload_timeout_s upload_wait_s upstream_connections upstream_keepalive_s volume_batch
    volume_mirroring volume_model worker_port
"""
SERVICES: Final = frozenset(_SERVICES.split())
"""Fields of the settings classes of all services, and of ``make run``."""

_COMPOSE: Final = """
    balancer_cpus balancer_memory classifier_cpus classifier_memory gateway_cpus gateway_memory public_bind
    public_port queue_cpus queue_memory segmenter_cpus segmenter_memory tag worker_cpus worker_memory
"""
COMPOSE: Final = frozenset(_COMPOSE.split())
"""What the compose files ask for beside them."""

CLIENTS: Final = frozenset({"url", "key", "key2", "checkout", "old"})
"""Reserved for programs that call Falx or compare two of it; no service reads them."""

KNOWN: Final = frozenset(f"{PREFIX}{name}".upper() for name in SERVICES | COMPOSE | CLIENTS)


def unknown_settings(names: Iterable[str]) -> list[str]:
    """One sentence for each of the variables ``names`` that has the prefix and is no setting; values are never read."""
    faults = []
    for name in sorted(names):
        if name.upper().startswith(PREFIX) and name.upper() not in KNOWN:
            near = get_close_matches(name[len(PREFIX) :].lower(), SERVICES, n=1)
            meant = f"; perhaps {PREFIX}{near[0].upper()} was meant" if near else ""
            faults.append(f"{name}: There is no such setting{meant}.")
    return faults
