"""`festoon completion bash|zsh|fish`: a script that a shell reads; it asks `festoon __complete` (cli/completion.py), or `__completeNoDesc`, as bash
does, which shows no descriptions."""

from __future__ import annotations

from typing import Final

from cli.api import Api
from cli.flags import switch
from cli.usage import Command, Group, command

_SCRIPTS: Final = {
    "bash": """# bash completion for festoon
_festoon() {
    local line="${COMP_LINE:0:COMP_POINT}" word="" IFS=$' \\t\\n'
    local -a words
    read -ra words <<<"$line"
    # the shell ends words at colons and equal signs too, which names and values may have in them
    case "$line" in *[[:space:]]) ;; *) word="${words[-1]}"; unset "words[-1]" ;; esac
    IFS=$'\\n'
    local found="$("${words[0]}" __completeNoDesc "${words[@]:1}" "$word" 2>/dev/null)"
    COMPREPLY=($(compgen -W "${found%:*}" -- "$word"))
    COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*[:=]}"}"}")
    [ ${#COMPREPLY[@]} -gt 0 ] || [ "${found##*:}" = 4 ] || compopt -o default
}
complete -F _festoon festoon
""",
    "zsh": """#compdef festoon
_festoon() {
    local -a lines found shown
    local files line name width=0 tab=$'\t'
    lines=("${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT-1]}" "${words[CURRENT]}" 2>/dev/null)}")
    files="${lines[-1]}"
    lines=("${(@)lines:#:[0-9]}")
    found=("${(@)lines%%${tab}*}")
    if (( ! ${#found} )); then [[ "$files" == :4 ]] || _files; return; fi
    for name in "${found[@]}"; do (( ${#name} > width )) && width=${#name}; done
    for line in "${lines[@]}"; do
        name="${line%%${tab}*}"
        [[ "$line" == *${tab}* ]] && name="${(r:width:)name}  -- ${line#*${tab}}"
        shown+=("$name")
    done
    if [[ "${lines[1]}" == *${tab}* ]]; then compadd -l -d shown -a found; else compadd -a found; fi
}
compdef _festoon festoon
""",
    "fish": """# fish completion for festoon
function __festoon_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l found ($words[1] __complete $words[2..-1] 2>/dev/null | string match -r '.+')
    if set -q found[2]
        printf '%s\\n' $found[1..-2]
    else if test "$found" != :4
        __fish_complete_path (commandline -ct)
    end
end
complete -c festoon -f -a '(__festoon_complete)'
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
        print(_SCRIPTS[name].replace("__complete ", "__completeNoDesc ") if no_descriptions else _SCRIPTS[name], end="")
        return 0

    return script


bash, zsh, fish = _shell("bash"), _shell("zsh"), _shell("fish")
