"""What takes up room, prunes, filters of `ps`, limits that are dropped with a warning: by the real client and by festoon."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator

import pytest

from tests.driver import MANAGER, Lab


@pytest.fixture
def box(lab: Lab, program: str) -> Iterator[Callable[..., str]]:
    made: list[str] = []

    def make(base: str, *words: str) -> str:
        made.append(f"use-{program}-{base}")
        lab.ok(MANAGER, program, "run", "-d", "--name", made[-1], *words)
        return made[-1]

    yield make
    for each in made:
        lab.on(MANAGER, program, "rm", "-f", "-v", each)


def test_disk_usage_counts_what_is_in_use(lab: Lab, program: str, box: Callable[..., str]) -> None:
    box("df", "-v", f"use-{program}-volume:/v", "busybox", "sh", "-c", "head -c 5000 /dev/zero > /v/f; sleep 1000")
    found = dict(line.split(";") for line in lab.ok(MANAGER, program, "system", "df", "--format", "{{.Type}};{{.Active}}").splitlines())
    assert int(found["Images"]) >= 1
    assert int(found["Containers"]) >= 1
    assert int(found["Local Volumes"]) >= 1
    detail = lab.ok(MANAGER, program, "system", "df", "-v")
    assert f"use-{program}-df" in detail
    assert "N/A" not in detail
    assert f"use-{program}-volume 1 5kB" in " ".join(detail.split())
    of_volumes = "{{range .Volumes}}{{.Name}} {{.Links}} {{.Size}};{{end}}"
    assert f"use-{program}-volume 1 5kB;" in lab.ok(MANAGER, program, "system", "df", "-v", "--format", of_volumes)
    whole = json.loads(lab.ok(MANAGER, program, "system", "df", "-v", "--format", "json"))
    assert list(whole) == ["Images", "Containers", "Volumes", "BuildCache"]
    assert {(i["Repository"], len(i["ID"])) for i in whole["Images"] if i["Repository"] == "busybox"} == {("busybox", 71)}
    wrong = lab.on(MANAGER, program, "system", "df", "-v", "--format", "{{.Nope}}")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr.startswith('template: :1:2: executing "" at <.Nope>: can\'t evaluate field Nope')


def test_a_template_of_events_is_tried_before_there_are_any(lab: Lab, program: str) -> None:
    wrong = lab.on(MANAGER, program, "events", "--since", "1", "--until", "1", "--format", "{{.Nope}}")
    assert wrong.returncode == 64
    assert wrong.stderr.startswith("Error parsing format: template: :1:2:")


def test_what_can_not_be_copied_is_named_where_it_is_missing(lab: Lab, program: str, box: Callable[..., str]) -> None:
    name = box("cp", "busybox", "true")
    for source, missing in (("/nosuch", "//nosuch"), ("/etc/nosuch", "/etc/nosuch"), ("/nosuch/a", "/nosuch"), ("nosuch", f"{os.getcwd()}/nosuch")):
        wrong = lab.on(MANAGER, program, "cp", source, f"{name}:/")
        assert (wrong.returncode, wrong.stderr.strip()) == (1, f"lstat {missing}: no such file or directory")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("logs", ""), "invalid container name or ID: value is empty"),
        (("rm", ""), "container name cannot be empty"),
        (("diff", ""), "Container name cannot be empty"),
        (("commit", ""), "invalid container name or ID: value is empty"),
        (("network", "rm", ""), "invalid network name or ID: value is empty\nexit status 1"),
        (("network", "connect", "bridge", ""), "invalid container name or ID: value is empty"),
        (("volume", "rm", ""), "invalid volume name or ID: value is empty"),
        (("tag", "", "a"), 'Error parsing reference: "" is not a valid repository/tag: invalid reference format'),
        (("inspect", ""), "invalid container name or ID: value is empty"),
        (("inspect", "FooBar"), "Error: No such object: FooBar"),
    ],
)
def test_nothing_and_what_can_be_no_name_names_nothing(lab: Lab, program: str, words: tuple[str, ...], sentence: str) -> None:
    done = lab.on(MANAGER, program, *words)
    assert (done.returncode, done.stderr.strip()) == (1, sentence)


def test_a_template_that_fits_one_of_two_prints_that_one(lab: Lab, program: str, box: Callable[..., str]) -> None:
    name = box("fits", "busybox", "true")
    done = lab.on(MANAGER, program, "inspect", "-f", "{{.Name}}", "busybox", name)
    assert (done.returncode, done.stdout) == (1, f"/{name}\n")
    assert 'map has no entry for key "Name"' in done.stderr


def test_prunes_take_only_what_their_filter_lets_them(lab: Lab, program: str, box: Callable[..., str]) -> None:
    name = box("old", "--label", f"use-{program}=1", "busybox", "true")
    lab.ok(MANAGER, program, "wait", name)
    wrong = lab.on(MANAGER, program, "container", "prune", "-f", "--filter", "until=nonsense")
    assert wrong.returncode == 1
    assert 'failed to parse value as time or duration: "nonsense"' in wrong.stderr
    kept = lab.ok(MANAGER, program, "container", "prune", "-f", "--filter", "until=1h", "--filter", f"label=use-{program}")
    assert "Deleted Containers" not in kept
    gone = lab.ok(MANAGER, program, "system", "prune", "-f", "--filter", f"label=use-{program}")
    assert "Deleted Containers:" in gone
    assert "Total reclaimed space:" in gone
    assert lab.on(MANAGER, program, "inspect", name).returncode == 1


def test_names_are_looked_for_by_regular_expressions(lab: Lab, program: str, box: Callable[..., str]) -> None:
    name = box("named", "busybox", "sleep", "1000")
    for pattern in (f"^{name}$", f"^/{name}$", "^use-.*-named$"):
        assert name in lab.ok(MANAGER, program, "ps", "--filter", f"name={pattern}", "--format", "{{.Names}}").split()
    assert lab.ok(MANAGER, program, "ps", "-q", "--filter", "name=^named$") == ""
    for wrong, sentence in (("exited=x", 'strconv.Atoi: parsing "x"'), ("before=nosuchbox", "no such container nosuchbox"), ("publish=x", "ParseUint")):
        done = lab.on(MANAGER, program, "ps", "-a", "--filter", wrong)
        assert (done.returncode, sentence in done.stderr) == (1, True), done.stderr
    for kind in ("volume", "network"):
        lab.ok(MANAGER, program, kind, "create", "su-named")
        try:
            assert lab.ok(MANAGER, program, kind, "ls", "--format", "{{.Name}}", "--filter", "name=^su.na") == "su-named\n"
        finally:
            lab.ok(MANAGER, program, kind, "rm", "su-named")


def test_lists_by_templates_raw_or_ids_alone(lab: Lab, program: str, box: Callable[..., str]) -> None:
    mine = ("--filter", f"name=^{box('format', '--label', 'x=1', 'busybox', 'sleep', '1000')}$")
    raw = lab.ok(MANAGER, program, "ps", *mine, "--format", "raw").splitlines()
    assert [line.partition(":")[0] for line in raw] == [
        "container_id", "image", "command", "created_at", "state", "status", "names", "labels", "ports", "",
    ]  # fmt: skip
    assert raw[4:8:3] == ["state: running", "labels: x=1"]
    ids = lab.on(MANAGER, program, "ps", "-q", *mine, "--format", "{{.Names}}")
    assert raw[0] == f"container_id: {ids.stdout.strip()}"
    assert ids.stderr == "WARNING: Ignoring custom format, because both --format and --quiet are set.\n"
    named = '{{define "N"}}<{{.}}>{{end}}{{range $i, $x := split .Names "-"}}{{if eq $i 1}}{{break}}{{end}}{{template "N" $x}}{{end}}'
    assert lab.ok(MANAGER, program, "ps", *mine, "--format", named) == "<use>\n"
    for wrong, words in (("{{.Names", "failed to parse template: template: :1: unclosed action"), ("{{.No}}", "failed to execute template: template: :1:2:")):
        done = lab.on(MANAGER, program, "ps", "--format", wrong)
        assert (done.returncode, words in done.stderr) == (1, True), done.stderr
    assert lab.ok(MANAGER, program, "version", "--format", "{{.Client.APIVersion}} {{.Server.APIVersion}}").endswith(" 1.51\n")
    assert lab.ok(MANAGER, program, "help", "container", "ls").splitlines()[0] == f"Usage:  {program} container ls [OPTIONS]"
    assert lab.on(MANAGER, program, "help", "nosuch").stderr.strip() == "unknown help topic: nosuch"


def test_who_waits_for_a_container_that_is_removed_is_told_its_status(lab: Lab, program: str, box: Callable[..., str]) -> None:
    name = box("waited", "busybox", "sleep", "1000")
    done = lab.on(MANAGER, "sh", "-c", f"(sleep 0.5; {program} rm -f {name} >/dev/null) & {program} wait {name}; wait")
    assert done.stdout == "137\n", done.stderr


def test_a_killed_paused_container_is_not_restarted(lab: Lab, program: str, box: Callable[..., str]) -> None:
    name = box("paused", "--restart", "on-failure:3", "busybox", "sleep", "1000")
    lab.ok(MANAGER, program, "pause", name)
    lab.ok(MANAGER, program, "kill", name)
    assert lab.ok(MANAGER, program, "inspect", name, "--format", "{{.State.Status}} {{.State.ExitCode}}") == "exited 137\n"


def test_anybody_in_a_container_binds_low_ports_and_files_in_etc_follow_the_root(lab: Lab, program: str) -> None:
    for network in ("bridge", "none"):
        words = ("--network", network, "busybox", "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/net/ipv4/ping_group_range")
        assert lab.ok(MANAGER, program, "run", "--rm", *words).split() == ["0", "0", "2147483647"]
    written = lab.on(MANAGER, program, "run", "--rm", "--read-only", "busybox", "touch", "/etc/hosts")
    assert "Read-only file system" in written.stderr


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (("--cpu-shares", "1", "busybox", "true"), 125, "the minimum allowed cpu-shares is 2"),
        (("--device-read-bps", "/dev/nosuch:1mb", "busybox", "true"), 127, "stat /dev/nosuch: no such file or directory"),
        (("-u", "99999999999", "busybox", "id"), 125, "uids and gids must be in range 0-2147483647"),
        (("--pid", "container:nosuch", "busybox", "true"), 125, "No such container: nosuch"),
        (("--volumes-from", "nosuch", "busybox", "true"), 125, "No such container: nosuch"),
        (("--network", "container:", "busybox", "true"), 125, "invalid container format container:<name|id>"),
        (("--network", "container", "busybox", "true"), 125, "invalid container format container:<name|id>"),
        (("--name", "su-me", "--network", "container:su-me", "busybox", "true"), 125, "cannot join own network"),
        (("--dns", "127.0.0.1", "busybox", "true"), 0, "WARNING: Localhost DNS (127.0.0.1) may fail in containers."),
        (("busybox", ""), 127, 'exec: "": executable file not found in $PATH'),
        (("--oom-kill-disable", "busybox", "true"), 0, "no memory limit is set"),
    ],
)
def test_what_can_not_be_is_said_in_dockers_words(lab: Lab, program: str, words: tuple[str, ...], status: int, sentence: str) -> None:
    done = lab.on(MANAGER, program, "run", "--rm", *words)
    assert (done.returncode, sentence in done.stderr) == (status, True), done.stderr
    assert "Unable to find image" not in done.stderr


def test_ps_shows_images_by_their_familiar_names_without_digests(lab: Lab, program: str, box: Callable[..., str]) -> None:
    name = box("named-image", "docker.io/library/busybox", "sleep", "1000")
    image = lab.ok(MANAGER, program, "inspect", "-f", "{{.Image}}", name).strip()
    by_id = box("by-id", image.removeprefix("sha256:"), "sleep", "1000")

    def shown(of: str, *flags: str) -> str:
        return lab.ok(MANAGER, program, "ps", *flags, "--filter", f"name=^{of}$", "--format", "{{.Image}}").strip()

    assert (shown(name), shown(name, "--no-trunc")) == ("busybox", "docker.io/library/busybox")
    assert (shown(by_id), shown(by_id, "--no-trunc")) == (image[7:19], image.removeprefix("sha256:"))


def test_a_limit_of_processes_can_be_taken_away(lab: Lab, program: str, box: Callable[..., str]) -> None:
    name = box("pids", "--pids-limit", "-1", "busybox", "sleep", "1000")

    def shown() -> str:
        return lab.ok(MANAGER, program, "inspect", "-f", "{{json .HostConfig.PidsLimit}}", name).strip()

    assert shown() == "null"
    for limit, after in (("5", "5"), ("0", "5"), ("-1", "0")):  # 0 is no limit for the daemon, and nothing for its client
        lab.ok(MANAGER, program, "update", "--pids-limit", limit, name)
        assert shown() == after
    lab.ok(MANAGER, program, "exec", name, "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 5 & done")


def test_flags_of_older_habits_are_taken(lab: Lab, program: str, box: Callable[..., str]) -> None:
    name = box("habits", "busybox", "sleep", "1000")
    warned = lab.on(MANAGER, program, "update", "--kernel-memory", "10m", name)
    assert (warned.returncode, "Specifying a kernel memory limit is deprecated" in warned.stdout) == (0, True)
    assert "--kernel-memory" not in lab.ok(MANAGER, program, "update", "--help")
    for verb in ("restart", "stop"):
        assert lab.ok(MANAGER, program, verb, "--time", "0", name).splitlines() == ["Flag --time has been deprecated, use --timeout instead", name]
    both = lab.on(MANAGER, program, "stop", "--time", "1", "-t", "1", name)
    assert (both.returncode, both.stderr.strip()) == (1, "conflicting options: cannot specify both --timeout and --time")
    assert lab.ok(MANAGER, program, "logout", "127.0.0.1:1") == "Removing login credentials for 127.0.0.1:1\n"


def test_debugging_shows_more_of_the_daemon(lab: Lab, program: str) -> None:
    for words in ((program, "-D", "info"), ("env", "DEBUG=1", program, "info")):
        shown = lab.ok(MANAGER, *words)
        assert " Debug Mode: true\n" in shown.partition("Server:")[0]
        assert "  File Descriptors: " in shown
    assert "File Descriptors" not in lab.ok(MANAGER, program, "info")
