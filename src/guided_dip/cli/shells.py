"""Scripts by which shells complete the commands, without starting the program at each key."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from guided_dip.cli.described import Command, Option

BASH = """\
# guided-dip completion bash
_guided_dip() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} path=guided-dip i
    if [[ $cur == "=" ]]; then
        cur=
    elif [[ $prev == "=" ]]; then
        prev=${COMP_WORDS[COMP_CWORD-2]}
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "$path ${COMP_WORDS[i]}" in
            @PATHS@) path="$path ${COMP_WORDS[i]}" ;;
        esac
    done
    COMPREPLY=()
    case "$path $prev" in
@VALUES@
    esac
    case "$path" in
@WORDS@
    esac
}
complete -o default -F _guided_dip guided-dip
"""

ZSH = """\
#compdef guided-dip
@FUNCTIONS@
if [ "$funcstack[1]" = "_guided-dip" ]; then
    _guided-dip "$@"
else
    compdef _guided-dip guided-dip
fi
"""

FISH = """\
# guided-dip completion fish
function __guided_dip_at
    set -l words (commandline -opc)[2..-1]
    set -l path
    for word in $words
        set -l next (string join ' ' -- $path $word)
        contains -- "$next" @PATHS@; and set path $path $word
    end
    test "$path" = "$argv"
end
@LINES@
"""


def _switches(command: Command) -> list[str]:
    """Return the names of a command's options, and of those that are meant where none is named."""
    return [name for option in _options(command) for name in option.names]


def _options(command: Command) -> tuple[Option, ...]:
    usual = [each for each in command.commands if each.words[-1] == command.usual]
    return usual[0].options if usual else command.options


def _path(command: Command) -> str:
    return " ".join(("guided-dip", *command.words))


def bash(root: Command) -> str:
    """Return the script for bash.

    Parameters
    ----------
    root
        The whole command line.
    """
    paths = "|".join(f'"{_path(command)}"' for command in root.walk() if command.words)
    values, words = [], []
    for command in root.walk():
        for option in _options(command):
            if option.metavar is None:
                continue
            cases = "|".join(f'"{_path(command)} {name}"' for name in option.names)
            found = f'COMPREPLY=($(compgen -W "{" ".join(option.values)}" -- "$cur")); '
            values.append(f"        {cases}) {found if option.values else ''}return ;;")
        below = [each.words[-1] for each in command.commands]
        switches = f'compgen -W "{" ".join(_switches(command))}" -- "$cur"'
        files = f"[[ $cur == -* ]] && COMPREPLY=($({switches}))"
        if below:
            files += f' || COMPREPLY=($(compgen -W "{" ".join(below)}" -- "$cur"))'
        words.append(f'        "{_path(command)}") {files} ;;')
    filled = BASH.replace("@PATHS@", paths).replace("@VALUES@", "\n".join(values))
    return filled.replace("@WORDS@", "\n".join(words))


def zsh(root: Command) -> str:
    """Return the script for zsh.

    Parameters
    ----------
    root
        The whole command line.
    """
    functions = "\n".join(_zsh_function(command) for command in reversed([*root.walk()]))
    return ZSH.replace("@FUNCTIONS@", functions)


def _zsh_function(command: Command) -> str:
    name = "_" + "-".join(("guided-dip", *command.words))
    lines = [
        f"{name}() {{",
        "    local curcontext=$curcontext state line",
        "    typeset -A opt_args",
    ]
    specs = [_zsh_option(option, each) for option in _options(command) for each in option.names]
    if not command.commands:
        lines += ["    _arguments \\", *(f"        {spec} \\" for spec in specs)]
        return "\n".join([*lines, "        '*:file:_files'", "}"])
    lines += ["    _arguments -C \\", *(f"        {spec} \\" for spec in specs)]
    lines += ["        '1: :->command' '*:: :->rest'", "    case $state in", "    command)"]
    listed = [f"{each.words[-1]}:{each.help}".replace("'", "'\\''") for each in command.commands]
    quoted = " ".join(f"'{each}'" for each in listed)
    lines += [f"        local -a commands=({quoted})"]
    lines += ["        _describe command commands"]
    lines += ["        _files"] if command.usual else []
    lines += ["        ;;", "    rest)", "        case $words[1] in"]
    for each in command.commands:
        lines += [f"        {each.words[-1]}) _{'-'.join(('guided-dip', *each.words))} ;;"]
    rest = "*) _files ;;" if command.usual else ""
    return "\n".join([*lines, f"        {rest}", "        esac", "        ;;", "    esac", "}"])


def _zsh_option(option: Option, name: str) -> str:
    said = option.help
    for special in "\\:[]":
        said = said.replace(special, f"\\{special}")
    said = said.replace("'", "'\\''")
    spec = f"*{name}"
    if option.metavar is None:
        return f"'{spec}[{said}]'"
    metavar = option.metavar.replace(":", "\\:")
    action = "_files" if option.is_file else " "
    if option.values:
        values = " ".join(option.values).replace(":", "\\:")
        action = f"({values})"
    equals = "=" if name.startswith("--") else "+"
    return f"'{spec}{equals}[{said}]:{metavar}:{action}'"


def fish(root: Command) -> str:
    """Return the script for fish.

    Parameters
    ----------
    root
        The whole command line.
    """
    paths = " ".join(_fish_word(" ".join(each.words)) for each in root.walk() if each.words)
    filled = FISH.replace("@PATHS@", paths)
    return filled.replace("@LINES@", "\n".join(_fish_lines(root)))


def _fish_lines(root: Command) -> Iterator[str]:
    for command in root.walk():
        begun = f"complete -c guided-dip -n '__guided_dip_at {' '.join(command.words)}'"
        exclusive = "" if command.usual else "f"
        for each in command.commands:
            yield (f"{begun} -{exclusive}a {each.words[-1]} -d {_fish_word(each.help)}")
        for option in _options(command):
            names = " ".join(
                f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
                for name in option.names
            )
            value = ""
            if option.metavar is not None:
                value = " -rF" if option.is_file else " -x"
            if option.values:
                value += f" -a {_fish_word(' '.join(option.values))}"
            yield f"{begun} {names}{value} -d {_fish_word(option.help)}"


def _fish_word(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


SHELLS: dict[str, Callable[[Command], str]] = {"bash": bash, "fish": fish, "zsh": zsh}
