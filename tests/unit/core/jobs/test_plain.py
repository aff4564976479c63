"""What stands in Redis is data: no pickle is written there, and none is read."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.jobs.plain import dumps, loads
from core.jobs.queue import JobQueue
from core.jobs.store import JobStore
from tests.support.queue import docket_message, start, submit, succeed

ROOT = Path(__file__).resolve().parents[4]


def run(program: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)


def test_every_module_of_docket_has_json_under_the_name_of_pickles() -> None:
    program = """
import pkgutil, sys
import core.jobs.worker
import docket
from core.jobs import plain
for module in pkgutil.walk_packages(docket.__path__, "docket."):
    if not {"cli", "__main__", "testing", "_prometheus_exporter"} & set(module.name.split(".")):
        __import__(module.name)
import cloudpickle
own = [m.__name__ for m in list(sys.modules.values()) if getattr(m, "cloudpickle", None) is not None]
assert "docket.execution" in own and "docket.worker" in own, own
assert all(sys.modules[name].cloudpickle.loads is plain.loads for name in own)
assert cloudpickle.dumps is plain.dumps
readers = [m.__name__ for m in list(sys.modules.values())
           if m.__name__.startswith("docket") and (hasattr(m, "pickle") or hasattr(m, "marshal"))]
assert readers == [], readers
"""
    ended = run(program)
    assert ended.returncode == 0, ended.stderr


def test_it_refuses_to_come_too_late() -> None:
    ended = run("import docket\nimport core.jobs.worker")
    assert ended.returncode != 0
    assert "docket was imported before core.jobs" in ended.stderr


def called(args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    def task(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return args, kwargs

    return task(*args, **kwargs)


def test_arguments_come_back() -> None:
    assert called(loads(dumps(("job",))), loads(dumps({}))) == (("job",), {})


def test_what_is_no_json_is_written_by_the_name_of_its_type_alone() -> None:
    assert json.loads(dumps(ValueError("a name"))) == "ValueError"


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"nul", b'"text"', b"3", b"[" * 100_000, b'{"job_id": 3}', pickle.dumps(["job"])]
)
def test_what_cannot_be_read_is_no_arguments(data: bytes) -> None:
    assert called(loads(data), loads(data)) == ((), {})
    assert loads(data)[:1] == ()


async def test_a_queue_holds_no_pickle(queue: JobQueue, store: JobStore) -> None:
    record = await submit(queue)
    await succeed(store, (await submit(queue)).id)
    await start(store, (await submit(queue)).id)
    message = await docket_message(store, "routine")
    assert json.loads(message[b"args"]) == [record.id]
    assert json.loads(message[b"kwargs"]) == {}
    async for key in store.client.scan_iter(f"*{store.keys.docket('routine')}*"):
        dump = await store.client.dump(key) or b""
        # How pickles of the protocols in use begin, whatever they hold.
        assert not any(b"\x80" + bytes([protocol]) + b"\x95" in dump for protocol in (4, 5)), key
