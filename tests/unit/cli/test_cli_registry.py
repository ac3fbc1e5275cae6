"""Registries on the command line: where passwords are kept, and how a transfer is shown."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from cli import credentials
from cli.failures import CliFailure
from cli.transfer import Transfer


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    return tmp_path / "docker" / "config.json"


@pytest.mark.parametrize(
    ("text", "server"),
    [("", credentials.HUB), ("docker.io", credentials.HUB), ("https://index.docker.io/v1/", credentials.HUB), ("https://r.example:5000/v2/", "r.example:5000")],
)
def test_servers(text: str, server: str) -> None:
    assert credentials.server_of(text) == server


def test_a_first_login_goes_to_the_helper_of_this_machine(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.parent.mkdir()
    for name, script in (("docker-credential-secretservice", HELPER), ("docker-credential-pass", HELPER)):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.setenv("KEPT", str(tmp_path))
    assert credentials.keep("r.example", "alice", "secret") is None
    assert json.loads(home.read_text()) == {"credsStore": "secretservice", "auths": {"r.example": {}}}
    home.unlink()
    (tmp_path / "pass").write_text("#!/bin/sh\n")
    (tmp_path / "pass").chmod(0o755)
    credentials.keep("r.example", "alice", "secret")
    assert json.loads(home.read_text())["credsStore"] == "pass"


def test_credentials_are_kept_beside_what_was_there(home: Path) -> None:
    home.parent.mkdir()
    home.write_text('{"psFormat": "table", "auths": {"other": {"auth": "YTpi"}}}')
    credentials.keep("r.example", "alice", "se:cret")
    assert home.stat().st_mode & 0o777 == 0o600
    document = json.loads(home.read_text())
    assert (document["psFormat"], set(document["auths"])) == ("table", {"other", "r.example"})
    assert credentials.find("r.example") == {"serveraddress": "r.example", "username": "alice", "password": "se:cret"}
    credentials.forget("r.example")
    credentials.forget("r.example")  # where there is nothing, nothing is said either
    assert credentials.find("r.example") == {}
    assert [p.name for p in home.parent.iterdir()] == ["config.json"]


def test_credentials_under_a_whole_address_are_the_registrys(home: Path) -> None:
    home.parent.mkdir()
    home.write_text('{"auths": {"https://r.example:5000": {"auth": "YTpi"}, "http://r.example:5000": {"auth": "YTpi"}, "https://other": {"auth": "YTpi"}}}')
    assert credentials.find("r.example:5000")["username"] == "a"
    credentials.forget("r.example:5000")
    assert set(json.loads(home.read_text())["auths"]) == {"https://other"}


HELPER = """#!/bin/sh
echo "$1" >>"$KEPT/asked"
case $1 in
store) cat >"$KEPT/kept" ;;
get) cat >"$KEPT/server"; if [ -e "$KEPT/kept" ]; then cat "$KEPT/kept"; else echo credentials not found in native keychain; exit 1; fi ;;
erase) read server; [ "$server" = r.example ] || { echo "$server is not in the store"; exit 1; }; rm -f "$KEPT/kept" ;;
esac
"""


@pytest.mark.parametrize("named", ['{"credsStore": "shelf"}', '{"credHelpers": {"r.example": "shelf"}}'])
def test_a_helper_keeps_what_is_not_to_be_in_the_file(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    home.parent.mkdir()
    home.write_text(named)
    program = tmp_path / "docker-credential-shelf"
    program.write_text(HELPER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("KEPT", str(tmp_path))
    assert credentials.find("r.example") == {}
    assert credentials.keep("r.example", "alice", "se:cret") is None
    assert "se:cret" not in home.read_text()
    assert credentials.find("r.example") == {"serveraddress": "r.example", "username": "alice", "password": "se:cret"}
    assert (tmp_path / "server").read_text() == "r.example"
    credentials.keep("r.example", "alice", "se:cret", "token")
    assert credentials.find("r.example") == {"serveraddress": "r.example", "identitytoken": "token"}
    credentials.forget("r.example")
    assert credentials.find("r.example") == {}


def test_a_helper_that_fails_or_is_missing_is_warned_of_and_keeps_nothing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home.parent.mkdir()
    home.write_text('{"credsStore": "shelf"}')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert credentials.find("r.example") == {}
    missing = 'exec: "docker-credential-shelf": executable file not found in $PATH, out: ``'
    assert capsys.readouterr().err == f"WARNING: error getting credentials - err: {missing}\n"
    program = tmp_path / "docker-credential-shelf"
    for script, said in (("echo locked\nexit 3\n", "err: exit status 3, out: `locked`"), ("echo nonsense\n", "docker-credential-shelf gave no credentials")):
        program.write_text(f"#!/bin/sh\n{script}")
        program.chmod(0o755)
        assert credentials.find("r.example") == {}
        assert capsys.readouterr().err == f"WARNING: error getting credentials - {said}\n"
    program.write_text("#!/bin/sh\necho locked\nexit 3\n")
    with pytest.raises(CliFailure, match=r"^Error saving credentials: error storing credentials - err: exit status 3, out: `locked`$"):
        credentials.keep("r.example", "a", "b")
    with pytest.raises(CliFailure, match=r"^error erasing credentials - err: exit status 3, out: `locked`$"):
        credentials.forget("r.example")
    assert home.read_text() == '{"credsStore": "shelf"}'


@pytest.mark.parametrize("content", ["{", "[]", '{"auths": 5}'])
def test_a_spoilt_file_is_said_and_left_alone(home: Path, content: str) -> None:
    home.parent.mkdir()
    home.write_text(content)
    with pytest.raises(CliFailure, match="Error loading config file"):
        credentials.keep("r.example", "a", "b")
    assert home.read_text() == content


LINES = [
    b'{"status":"Pulling from x","id":"1"}',
    b'{"status":"Pulling fs layer","progressDetail":{},"id":"abc"}',
    b'{"status":"Downloading","progressDetail":{"current":1,"total":2},"progress":"[=>] 1B/2B","id":"abc"}',
    b'{"status":"Pull complete","progressDetail":{},"id":"abc"}',
    b'{"status":"Digest: sha256:1"}',
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise io.UnsupportedOperation


def test_without_a_terminal_each_step_is_a_line_and_bars_are_left_out() -> None:
    out = io.StringIO()
    Transfer(out).show(LINES)
    assert out.getvalue() == "1: Pulling from x\nabc: Pulling fs layer\nabc: Pull complete\nDigest: sha256:1\n"
    quiet = io.StringIO()
    with pytest.raises(CliFailure, match=r"^denied$"):
        Transfer(quiet, quiet=True).show([*LINES, b'{"errorDetail":{"message":"denied"},"error":"denied"}'])
    assert quiet.getvalue() == ""


def test_on_a_terminal_a_layers_line_is_rewritten() -> None:
    out = Terminal()
    Transfer(out).show(LINES)
    assert out.getvalue() == (
        "1: Pulling from x\nabc: Pulling fs layer\n\x1b[1A\r\x1b[2Kabc: Downloading 1B/2B\r\x1b[1B\x1b[1A\r\x1b[2Kabc: Pull complete\r\x1b[1BDigest: sha256:1\n"
    )
