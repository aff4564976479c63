"""What the model servers promise under load, asked of real processes.

Where time matters the process gets one core and so one runner: then the work ahead and the work itself are slowed
down alike by whatever else the machine does, and their ratio holds on any machine.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.fixtures.images import make_png
from tests.fixtures.servers import Reply, Server, running, wait_until_ready
from tests.fixtures.slow_models import write_slow_classifier
from tests.support.watching import measure

PATHS = {"classifier_service": "/v1/classifications", "segmenter_service": "/v1/segmentations"}
PNG = {"Content-Type": "image/png"}
SLOW_S = 0.15
IMAGE = make_png(64, 64)


@pytest.fixture(scope="module")
def slow_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system pins no process to a core")
    return write_slow_classifier(tmp_path_factory.mktemp("slow"), SLOW_S)


@pytest.fixture(scope="module")
def slow_server(slow_models: Path) -> Iterator[Server]:
    """Shared by the tests that leave it as they found it; each of them compares counts before and after."""
    with slow_classifier(slow_models) as server:
        yield server


@contextmanager
def one_core() -> Iterator[None]:
    """Processes started inside get one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


@contextmanager
def slow_classifier(models: Path, **env: str) -> Iterator[Server]:
    settings = {"FALX_MODELS_DIR": str(models), "FALX_MAX_BATCH": "1", **env}
    with ExitStack() as stack:
        with one_core():
            server = stack.enter_context(running("classifier_service", settings, wait_ready=False))
        wait_until_ready(server)
        yield server


def classify(server: Server, image: bytes = IMAGE, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.request("POST", "/v1/classifications", image, {**PNG, **named}, timeout_s=60.0)


def runs(server: Server) -> float:
    """Runs of the network so far; with FALX_MAX_BATCH=1 each is one image."""
    return measure(server, "falx_inference_seconds_count")


def wait_until(condition: Callable[[], bool], limit_s: float = 20.0) -> None:
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.01)


def post_all(server: Server, path: str, bodies: Sequence[bytes]) -> list[Reply]:
    """All at once, each on a connection of its own; answers in the order of ``bodies``."""
    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(lambda body: server.request("POST", path, body, PNG, timeout_s=60.0), bodies))


def in_flight(pool: ThreadPoolExecutor, server: Server, count: int) -> list[Future[Reply]]:
    """``count`` requests that the server has decoded and not yet answered, or not all of them."""
    decoded = measure(server, "falx_decode_seconds_count")
    futures = [pool.submit(classify, server) for _ in range(count)]
    wait_until(lambda: measure(server, "falx_decode_seconds_count") >= decoded + count)
    return futures


@pytest.mark.parametrize("module", PATHS)
def test_broken_images_do_not_fail_their_neighbours(module: str, tiny_models: Path) -> None:
    path = PATHS[module]
    good = [make_png(80 + seed, 96, seed=seed) for seed in range(28)]
    broken = [good[0][: len(good[0]) // 2], b"", b"\x89PNG\r\n\x1a\n" + bytes(64), b"GIF89a or not"]
    with running(module, {"FALX_MODELS_DIR": str(tiny_models)}) as server:
        alone = [answer_of(server.request("POST", path, body, PNG)) for body in good]
        mixed = [*good[:7], broken[0], *good[7:14], broken[1], *good[14:21], broken[2], *good[21:], broken[3]]
        replies = dict(zip(mixed, post_all(server, path, mixed), strict=True))
    assert [replies[body].status for body in good] == [200] * 28
    assert [answer_of(replies[body]) for body in good] == alone
    assert len({str(answer) for answer in alone}) == 28
    for body in broken:
        assert 400 <= replies[body].status < 500
        assert replies[body].headers["content-type"] == "application/problem+json"


def answer_of(reply: Reply) -> dict[str, object]:
    """What an answer says of the image; batches of another size may differ in the last digits."""
    answer = reply.json()
    if "probabilities" in answer:
        return {label: pytest.approx(value, abs=1e-5) for label, value in answer["probabilities"].items()}
    return {name: answer[name] for name in ("size", "tumor_pixels", "mask", "bounding_box")}


def test_requests_in_flight_are_answered_on_sigterm(slow_models: Path) -> None:
    with slow_classifier(slow_models) as server, ThreadPoolExecutor(12) as pool:
        futures = in_flight(pool, server, 12)
        assert runs(server) < 12
        server.sigterm()
        replies = [future.result() for future in futures]
        assert [reply.status for reply in replies] == [200] * 12
        assert server.wait() == 0
        with pytest.raises(ConnectionRefusedError):
            server.connect()


def test_clients_that_hang_up_cost_the_next_one_little(slow_server: Server) -> None:
    ratios = [ratio_after_hang_ups(slow_server) for _ in range(3)]
    # Noise only ever adds; work that is not dropped would make it 25 in each of them.
    assert min(ratios) <= 2.0, ratios


def ratio_after_hang_ups(server: Server) -> float:
    """Latency right after 24 clients have left, in normal latencies; medians of three."""
    normal_s, after_s = [], []
    for _ in range(3):
        normal_s.append(timed(server))
        hang_up(server, 24)
        after_s.append(timed(server))
    return statistics.median(after_s) / statistics.median(normal_s)


def timed(server: Server) -> float:
    started = time.perf_counter()
    assert classify(server).status == 200
    return time.perf_counter() - started


def hang_up(server: Server, count: int) -> None:
    """``count`` clients send a request and leave once all are queued; what is not running by then never runs."""
    ran, dropped = runs(server), measure(server, "falx_dropped_total", reason="cancelled")
    decoded = measure(server, "falx_decode_seconds_count")
    head = f"POST /v1/classifications HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(IMAGE)}"
    clients = [server.connect() for _ in range(count)]
    for client in clients:
        client.sendall(head.encode() + b"\r\n\r\n" + IMAGE)
    wait_until(lambda: measure(server, "falx_decode_seconds_count") >= decoded + count)
    time.sleep(0.05)  # who ends the stream together with the request is done with sending, and waits
    for client in clients:
        client.close()
    wait_until(lambda: measure(server, "falx_queue_depth") == 0)
    begun = count - (measure(server, "falx_dropped_total", reason="cancelled") - dropped)
    # What the one runner did while the others were still coming, and what it was at when they left.
    assert begun <= 6
    assert runs(server) - ran <= begun


def test_a_refused_client_gets_in_when_it_was_told(slow_models: Path) -> None:
    with slow_classifier(slow_models, FALX_MAX_QUEUE="4") as server, ThreadPoolExecutor(12) as pool:
        timed(server)
        outcomes = list(pool.map(lambda _: classify_patiently(server), range(12)))
    assert [statuses[-1] for statuses in outcomes] == [200] * 12
    # One runs and four wait; a few more get in while the rest are still arriving.
    assert 3 <= sum(statuses[0] == 429 for statuses in outcomes) <= 8


def classify_patiently(server: Server) -> list[int]:
    """The statuses of one client that is refused at most once and comes back when it was told to."""
    reply = classify(server)
    if reply.status != 429:
        return [reply.status]
    assert reply.json()["code"] == "queue-full"
    assert reply.json()["retryable"] is True
    time.sleep(int(reply.headers["retry-after"]))
    return [429, classify(server).status]


def test_a_passed_deadline_answers_in_time_and_never_runs(slow_server: Server) -> None:
    ran, expired = runs(slow_server), measure(slow_server, "falx_dropped_total", reason="expired")
    with ThreadPoolExecutor(8) as pool:
        futures = in_flight(pool, slow_server, 8)
        started = time.perf_counter()
        # Long enough to be queued first, on a core that is busy with another's run.
        late = classify(slow_server, X_Request_Timeout_Ms=str(round(2000 * SLOW_S)))
        # Six at least were still ahead: whoever answers by then has not waited for its turn.
        assert time.perf_counter() - started < 4 * SLOW_S
        assert late.status == 504
        assert late.json()["code"] == "deadline-exceeded"
        assert [future.result().status for future in futures] == [200] * 8
    timed(slow_server)
    assert runs(slow_server) - ran == 8 + 1
    assert measure(slow_server, "falx_dropped_total", reason="expired") - expired == 1


def test_a_deadline_that_is_met_changes_nothing(slow_server: Server) -> None:
    dropped = measure(slow_server, "falx_dropped_total")
    assert classify(slow_server, X_Request_Timeout_Ms="20000").status == 200
    assert measure(slow_server, "falx_dropped_total") == dropped
