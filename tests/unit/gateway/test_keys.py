"""Keys are recognised by their hash alone, and the file is followed as it changes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner

from core.errors import UnsafeConfiguration
from gateway.cli import cli
from gateway.keys import (
    KEY_PATTERN,
    KeyRecord,
    KeyRing,
    NewKey,
    Scope,
    create_key,
    digest,
    presented_key,
    read_key_file,
)

INFER = frozenset({Scope.INFER})


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def write(path: Path, *keys: NewKey) -> Path:
    path.write_text(json.dumps({"keys": [key.record.model_dump(mode="json") for key in keys]}))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_a_key_is_long_and_never_in_its_record() -> None:
    made = create_key("pacs-1", INFER)
    match = KEY_PATTERN.fullmatch(made.key)
    assert match
    assert match[1] == "pacs-1"
    assert len(made.key.split("_", 2)[2]) == 43, "43 base64 characters carry 256 bits"
    assert made.record.sha256 == digest(made.key)
    assert made.key.split("_", 2)[2] not in made.record.model_dump_json()
    assert create_key("pacs-1", INFER).key != made.key


@pytest.mark.parametrize("key_id", ["", "Upper", "under_score", "-first", "x" * 33, "dot."])
def test_ids_that_are_refused(key_id: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        create_key(key_id, INFER)


def test_admin_includes_the_others() -> None:
    assert KeyRecord(id="a", sha256="0" * 64, scopes=frozenset({Scope.ADMIN})).allows(Scope.INFER)
    assert not KeyRecord(id="a", sha256="0" * 64, scopes=INFER).allows(Scope.ADMIN)


class TestRing:
    def test_finds_the_right_key_only(self, file: Path) -> None:
        one, two = create_key("one", INFER), create_key("two", INFER)
        ring = KeyRing(write(file, one, two))
        assert ring.find(one.key) == one.record
        assert ring.find(two.key) == two.record
        for wrong in ("", "falx_one_", one.key[:-1], one.key + "A", one.key.replace("_one_", "_two_"), "é" * 60):
            assert ring.find(wrong) is None
        assert ring.find(create_key("one", INFER).key) is None

    def test_expired(self, file: Path) -> None:
        past, soon = datetime.now(UTC) - timedelta(seconds=1), datetime.now(UTC) + timedelta(hours=1)
        old, new = create_key("old", INFER, past), create_key("new", INFER, soon)
        ring = KeyRing(write(file, old, new))
        assert ring.find(old.key) is None
        assert ring.find(new.key) == new.record

    def test_follows_the_file(self, file: Path) -> None:
        clock = Clock()
        one, two = create_key("one", INFER), create_key("two-longer", INFER)
        ring = KeyRing(write(file, one), clock)
        write(file, two)
        assert ring.find(one.key), "the file is not looked at on each request"
        clock.now_s += 1.0
        assert ring.find(one.key) is None
        assert ring.find(two.key)

    @pytest.mark.parametrize("content", ["{", '{"keys": [{"id": "x"}]}', "gone"])
    def test_keeps_the_last_good_records(self, file: Path, content: str) -> None:
        clock = Clock()
        one = create_key("one", INFER)
        ring = KeyRing(write(file, one), clock)
        if content == "gone":
            file.unlink()
        else:
            file.write_text(content)
        clock.now_s += 1.0
        with structlog.testing.capture_logs() as logs:
            assert ring.find(one.key)
        assert [line["event"] for line in logs] == ["key file unusable"]

    def test_an_emptied_file_locks_everybody_out(self, file: Path) -> None:
        clock = Clock()
        one = create_key("one", INFER)
        ring = KeyRing(write(file, one), clock)
        write(file)
        clock.now_s += 1.0
        assert ring.find(one.key) is None


class TestFile:
    def test_toml(self, tmp_path: Path) -> None:
        file = tmp_path / "keys.toml"
        file.write_text(
            '[[keys]]\nid = "one"\nsha256 = "' + "a" * 64 + '"\nscopes = ["infer"]\nexpires = 2030-01-01T00:00:00Z\n'
        )
        assert read_key_file(file)["one"].expires == datetime(2030, 1, 1, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            ("{", "Expecting"),
            ('{"keys": [{"id": "a", "sha256": "falx_a_secret", "scopes": ["infer"]}]}', "keys.0.sha256"),
            ('{"keys": [{"id": "a", "sha256": "' + "a" * 64 + '", "scopes": []}]}', "keys.0.scopes"),
            ('{"keys": [{"id": "a", "sha256": "' + "a" * 64 + '", "scopes": ["root"]}]}', "keys.0.scopes"),
            (
                '{"keys": [' + ", ".join(['{"id": "a", "sha256": "' + "a" * 64 + '", "scopes": ["infer"]}'] * 2) + "]}",
                "twice",
            ),
            (
                '{"keys": [{"id": "a", "sha256": "'
                + "a" * 64
                + '", "scopes": ["infer"], "expires": "2030-01-01T00:00"}]}',
                "keys.0.expires",
            ),
        ],
        ids=["not JSON", "key for hash", "no scope", "unknown scope", "id twice", "no time zone"],
    )
    def test_refuses(self, file: Path, content: str, reason: str) -> None:
        file.write_text(content)
        with pytest.raises(UnsafeConfiguration, match=reason) as refusal:
            read_key_file(file)
        assert "secret" not in refusal.value.detail

    def test_refuses_a_missing_file(self, file: Path) -> None:
        with pytest.raises(UnsafeConfiguration, match="No such file"):
            KeyRing(file)


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({}, None),
        ({"authorization": "Bearer abc"}, "abc"),
        ({"authorization": "bearer  abc "}, "abc"),
        ({"authorization": "Basic abc"}, ""),
        ({"x-api-key": "abc"}, "abc"),
        ({"authorization": "Bearer abc", "x-api-key": "def"}, "abc"),
    ],
)
def test_where_a_key_is_looked_for(headers: dict[str, str], key: str | None) -> None:
    assert presented_key(headers) == key


class TestCommand:
    def run(self, *arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(cli, ["keys", "create", *arguments])
        return result.exit_code, result.output

    def test_shows_the_key_once_and_its_record(self, tmp_path: Path) -> None:
        code, output = self.run("--id", "pacs", "--scope", "infer", "--scope", "jobs", "--days", "30")
        assert code == 0
        key = next(word for word in output.split() if word.startswith("falx_"))
        assert output.count(key) == 1
        file = tmp_path / "keys.toml"
        file.write_text(output[output.index("[[keys]]") :])
        record = KeyRing(file).find(key)
        assert record
        assert record.scopes == {Scope.INFER, Scope.JOBS}
        assert record.expires
        assert timedelta(days=29) < record.expires - datetime.now(UTC) <= timedelta(days=30)

    def test_appends_to_a_private_file(self, tmp_path: Path) -> None:
        file = tmp_path / "keys.toml"
        keys = []
        for name in ("one", "two"):
            code, output = self.run("--id", name, "--scope", "infer", "--file", str(file))
            assert code == 0
            keys.append(next(word for word in output.split() if word.startswith("falx_")))
        assert file.stat().st_mode & 0o077 == 0
        ring = KeyRing(file)
        assert all(ring.find(key) for key in keys)
        assert not any(key in file.read_text() for key in keys)

    def test_refuses_an_id_twice_and_an_unsound_one(self, tmp_path: Path) -> None:
        file = tmp_path / "keys.toml"
        assert self.run("--id", "one", "--scope", "infer", "--file", str(file))[0] == 0
        before = file.read_text()
        assert self.run("--id", "one", "--scope", "infer", "--file", str(file))[0] == 2
        assert self.run("--id", "No Good", "--scope", "infer", "--file", str(file))[0] == 2
        assert file.read_text() == before
