"""`festoon completion bash|zsh|fish`: a script that a shell reads; it asks `festoon __complete` (cli/completion.py)."""

from __future__ import annotations

from typing import Final

from cli.api import Api
from cli.flags import switch
from cli.usage import Command, Group, command

_SCRIPTS: Final = {
    "bash": """# bash completion for festoon
_festoon() {
    local word="${COMP_WORDS[COMP_CWORD]}" IFS=$'\\n'
    COMPREPLY=($(compgen -W "$("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD-1}" "$word" 2>/dev/null)" -- "$word"))
    [ ${#COMPREPLY[@]} -gt 0 ] || compopt -o default
}
complete -F _festoon festoon
""",
    "zsh": """#compdef festoon
_festoon() {
    local -a found
    found=("${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT-1]}" "${words[CURRENT]}" 2>/dev/null)}")
    found=("${(@)found:#}")
    if (( ${#found} )); then compadd -a found; else _files; fi
}
compdef _festoon festoon
""",
    "fish": """# fish completion for festoon
function __festoon_complete
    set -l words (commandline -opc) (commandline -ct)
    $words[1] __complete $words[2..-1] 2>/dev/null
end
complete -c festoon -a '(__festoon_complete)'
""",
}
completion = Group(
    "completion",
    summary="Generate the autocompletion script for the specified shell",
    lazy={shell: (f"cli.commands.completion:{shell}", f"Generate the autocompletion script for {shell}") for shell in _SCRIPTS},
)


def _shell(name: str) -> Command:
    @command(name, summary=f"Generate the autocompletion script for {name}")
    @switch("--no-descriptions", help="disable completion descriptions")
    def script(api: Api, arguments: tuple[str, ...], no_descriptions: bool | None) -> int:
        print(_SCRIPTS[name], end="")
        return 0

    return script


bash, zsh, fish = _shell("bash"), _shell("zsh"), _shell("fish")
