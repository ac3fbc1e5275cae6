"""The completion scripts, loaded by the shells that they are for: commands, flags, and the names of what there is."""

from __future__ import annotations

import shutil

import pytest

from tests.driver import MANAGER, Lab

SHELLS = {
    "bash": 'source <(festoon completion bash); COMP_LINE="{line}"; COMP_POINT=${{#COMP_LINE}}; _festoon; printf "%s\\n" "${{COMPREPLY[@]}}"',
    "zsh": 'compdef() {{ :; }}; compadd() {{ print -l -- ${{(P)2}}; }}; source <(festoon completion zsh); words=({words}); CURRENT=${{#words}}; _festoon',
    "fish": 'festoon completion fish | source; complete -C "{line}"',
}


@pytest.mark.parametrize("shell", SHELLS)
def test_commands_flags_and_names_are_proposed(lab: Lab, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")

    def proposed(*words: str) -> set[str]:
        script = SHELLS[shell].format(words=" ".join(f"'{word}'" for word in words), line=" ".join(words))
        options = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
        return {line.partition("\t")[0] for line in lab.ok(MANAGER, shell, *options, "-c", script).splitlines()}

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
    finally:
        lab.ok(MANAGER, "festoon", "rm", "-f", f"complete-{shell}")
