"""Keys are recognised by their hash alone, and the file is followed as it changes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner, Result

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


class TestRotation:
    """Another key for the same caller, who is never locked out."""

    def create(self, file: Path, name: str, *more: str) -> str:
        return shown(
            CliRunner().invoke(cli, ["keys", "create", "--id", name, "--scope", "jobs", "--file", str(file), *more])
        )

    def rotate(self, file: Path, name: str, *more: str) -> str:
        return shown(CliRunner().invoke(cli, ["keys", "rotate", "--id", name, "--file", str(file), *more]))

    def test_both_keys_are_good_for_a_while_and_are_the_same_caller(self, tmp_path: Path) -> None:
        file = tmp_path / "keys.toml"
        old, other = self.create(file, "pacs"), self.create(file, "viewer", "--never")
        file.write_text(f"# ours\n{file.read_text()}quota = {{waiting = 3}}\n# the end\n")
        clock = Clock()
        ring = KeyRing(file, clock)
        new = self.rotate(file, "pacs", "--days", "30")
        clock.now_s += 2
        found = [ring.find(key) for key in (old, new, other)]
        assert [record and record.id for record in found] == ["pacs", "pacs", "viewer"]
        assert found[0] == found[1]
        assert found[1]
        assert found[1].scopes == {Scope.JOBS}
        assert found[1].former
        assert found[1].former.expires - datetime.now(UTC) <= timedelta(days=7)
        assert ring.expiries().keys() == {"pacs"}
        assert file.read_text().startswith("# ours\n")
        assert file.read_text().endswith("quota = {waiting = 3}\n# the end\n")
        assert read_key_file(file)["viewer"].quota.waiting == 3

    def test_the_old_key_ends_with_the_overlap_and_the_one_before_it_at_once(self, tmp_path: Path) -> None:
        file = tmp_path / "keys.toml"
        first = self.create(file, "pacs")
        second = self.rotate(file, "pacs")
        third = self.rotate(file, "pacs", "--overlap", "0", "--never")
        ring = KeyRing(file)
        assert [bool(ring.find(key)) for key in (first, second, third)] == [False, False, True]
        assert ring.expiries() == {}
        assert not any(key in file.read_text() for key in (first, second, third))

    def test_the_overlap_makes_no_key_live_longer(self, tmp_path: Path) -> None:
        file = tmp_path / "keys.toml"
        self.create(file, "pacs", "--days", "1")
        ends = read_key_file(file)["pacs"].expires
        self.rotate(file, "pacs", "--overlap", "9")
        former = read_key_file(file)["pacs"].former
        assert former
        assert former.expires == ends

    def test_the_file_is_the_same_one_with_the_same_rights(self, tmp_path: Path) -> None:
        # A container has the file itself mounted.
        file = tmp_path / "keys.toml"
        self.create(file, "pacs")
        file.chmod(0o640)
        before = file.stat()
        self.rotate(file, "pacs")
        assert (file.stat().st_ino, file.stat().st_mode) == (before.st_ino, before.st_mode)

    @pytest.mark.parametrize(
        "text",
        [
            '[[keys]]\nid = "pacs"\nscopes = ["jobs"]\nexpires = 2090-01-01T00:00:00Z\nsha256 = "HASH"\n',
            'keys = [{id = "pacs", scopes = ["jobs"], sha256 = "HASH"}]\n',
            '[[keys]]\nid = "another"\nscopes = ["jobs"]\nsha256 = "HASH"\n',
        ],
        ids=["another order", "inline", "no such key"],
    )
    def test_a_file_that_it_cannot_change_stays_as_it_is(self, tmp_path: Path, text: str) -> None:
        file = tmp_path / "keys.toml"
        file.write_text(text.replace("HASH", "ab" * 32))
        before = file.read_text()
        result = CliRunner().invoke(cli, ["keys", "rotate", "--id", "pacs", "--file", str(file)])
        assert result.exit_code == 2
        assert file.read_text() == before


def shown(result: Result) -> str:
    """The key that a command has shown."""
    assert result.exit_code == 0, result.output
    return key_in(result.output)


def key_in(output: str) -> str:
    return next(word for word in output.split() if word.startswith("falx_"))


class TestCommand:
    def run(self, *arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(cli, ["keys", "create", *arguments])
        return result.exit_code, result.output

    def test_shows_the_key_once_and_its_record(self, tmp_path: Path) -> None:
        code, output = self.run("--id", "pacs", "--scope", "infer", "--scope", "jobs", "--days", "30")
        assert code == 0
        key = key_in(output)
        assert output.count(key) == 1
        file = tmp_path / "keys.toml"
        file.write_text(output[output.index("[[keys]]") :])
        record = KeyRing(file).find(key)
        assert record
        assert record.scopes == {Scope.INFER, Scope.JOBS}
        assert record.expires
        assert timedelta(days=29) < record.expires - datetime.now(UTC) <= timedelta(days=30)

    def test_a_key_ends_after_a_year_unless_it_is_said_that_it_never_does(self, tmp_path: Path) -> None:
        file = tmp_path / "keys.toml"
        assert self.run("--id", "usual", "--scope", "infer", "--file", str(file))[0] == 0
        assert self.run("--id", "for-ever", "--scope", "infer", "--never", "--file", str(file))[0] == 0
        records = read_key_file(file)
        assert records["usual"].expires
        assert timedelta(days=364) < records["usual"].expires - datetime.now(UTC) <= timedelta(days=365)
        assert records["for-ever"].expires is None

    def test_appends_to_a_private_file(self, tmp_path: Path) -> None:
        file = tmp_path / "keys.toml"
        keys = []
        for name in ("one", "two"):
            code, output = self.run("--id", name, "--scope", "infer", "--file", str(file))
            assert code == 0
            keys.append(key_in(output))
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
