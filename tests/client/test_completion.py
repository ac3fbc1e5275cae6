"""The completion scripts, loaded by the shells that they are for: commands, flags, and the names of what there is."""

from __future__ import annotations

import shutil

import pytest

from tests.driver import MANAGER, Lab, until

SHELLS = {
    "bash": 'source <(festoon completion bash); COMP_LINE="{line}"; COMP_POINT=${{#COMP_LINE}}; _festoon; printf "%s\\n" "${{COMPREPLY[@]}}"',
    "zsh": 'compdef() {{ :; }}; compadd() {{ print -l -- ${{(P)@[-1]}} }}; source <(festoon completion zsh); words=({words}); CURRENT=${{#words}}; _festoon',
    "fish": 'festoon completion fish | source; complete -C "{line}"',
}


@pytest.mark.parametrize("shell", SHELLS)
def test_commands_flags_and_names_are_proposed(lab: Lab, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")

    def proposed(*words: str) -> set[str]:
        script = SHELLS[shell].format(words=" ".join(f"'{word}'" for word in words), line=" ".join(words))
        options = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
        return {line.partition("\t")[0] for line in lab.ok(MANAGER, shell, *options, "-c", script).splitlines() if line}

    assert proposed("festoon", "serv") == {"service"}
    assert {"create", "inspect", "ls", "ps", "rollback"} <= proposed("festoon", "service", "")
    assert {"--network", "--network-alias"} <= proposed("festoon", "run", "--net")
    assert proposed("festoon", "run", "--network", "br") == {"bridge"}
    assert {line.removeprefix("--network=") for line in proposed("festoon", "run", "--network=br")} == {"bridge"}
    assert proposed("festoon", "node", "update", "--availability", "") == {"active", "drain", "pause"}
    assert {line.removeprefix("busybox:") for line in proposed("festoon", "run", "--rm", "busybox:la")} == {"latest"}
    lab.ok(MANAGER, "festoon", "run", "-d", "--name", f"complete-{shell}", "busybox", "sleep", "1000")
    try:
        assert proposed("festoon", "rm", "-f", f"complete-{shell[:2]}") == {f"complete-{shell}"}
        assert not proposed("festoon", "unpause", "")  # no files there: nothing is paused
    finally:
        lab.ok(MANAGER, "festoon", "rm", "-f", f"complete-{shell}")


def test_commands_and_flags_say_what_they_are_for_where_a_shell_shows_it(lab: Lab) -> None:
    assert "create\tCreate a volume" in lab.ok(MANAGER, "festoon", "__complete", "volume", "").splitlines()
    assert "--log-driver\tLogging driver for the container" in lab.ok(MANAGER, "festoon", "__complete", "run", "--log").splitlines()
    assert lab.ok(MANAGER, "festoon", "__completeNoDesc", "volume", "cr") == "create\n:4\n"
    for shell in SHELLS:
        assert "__complete " not in lab.ok(MANAGER, "festoon", "completion", shell, "--no-descriptions")


def test_files_are_proposed_where_one_may_stand(lab: Lab) -> None:
    """The last line is what Cobra's scripts read: :0 for files, :4 for none."""
    for words in (["run", "--env-file", ""], ["load", "-i", ""], ["run", "--env-file=x"], ["cp", ""], ["secret", "create", "s", ""], ["sim", "replay", ""]):
        assert lab.ok(MANAGER, "festoon", "__complete", *words).splitlines()[-1] == ":0", words
    for words in (["stop", ""], ["run", "--name", ""], ["volume", "create", ""], ["secret", "create", ""], ["run", "busybox", ""], ["service", ""]):
        assert lab.ok(MANAGER, "festoon", "__complete", *words).splitlines()[-1] == ":4", words


def test_names_are_of_what_the_command_is_for(lab: Lab) -> None:
    def proposed(*words: str) -> set[str]:
        return set(lab.ok(MANAGER, "festoon", "__complete", *words).split()) - {":0", ":4"}

    lab.ok(MANAGER, "festoon", "run", "-d", "--name", "fits-up", "busybox", "sleep", "1000")
    lab.ok(MANAGER, "festoon", "create", "--name", "fits-new", "busybox", "true")
    lab.ok(MANAGER, "festoon", "service", "create", "-d", "--name", "fits-service", "--constraint", "node.role==worker", "busybox", "sleep", "1000")
    try:
        assert proposed("stop", "fits") == {"fits-up"}
        assert proposed("start", "fits") == {"fits-new"}
        assert proposed("inspect", "fits") >= {"fits-up", "fits-new", "fits-service"}
        assert proposed("network", "connect", "bri") == {"bridge"}
        assert proposed("network", "connect", "bridge", "fits-u") == {"fits-up"}
        names = {"fits-service", "fits-service.1"}
        assert until(lambda: proposed("why", "fits-s") == names)
        assert proposed("network", "capture", "fits-u") == {"fits-up"}
        assert proposed("lab", "exec", "--name", lab.name, "swarm-w") == {"swarm-worker1", "swarm-worker2"}
        assert lab.name in proposed("lab", "ls", "--name", "")
        assert proposed("run", "--cap-add", "NET_A") == {"NET_ADMIN"}
    finally:
        lab.on(MANAGER, "festoon", "service", "rm", "fits-service")
        lab.on(MANAGER, "festoon", "rm", "-f", "fits-up", "fits-new")
