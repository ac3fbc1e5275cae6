"""Words read as pflag reads them."""

from __future__ import annotations

from typing import Any

import pytest

from cli.flags import INT, MAP, STRINGS, UINT16, Flag, Misuse, flags_of, option, options, read, switch
from cli.usage import command


@option("--memory", "-m", help="Memory limit", type=INT)
@options("--env", "-e", help="Set environment variables")
@switch("--tty", "-t", help="Allocate a pseudo-TTY")
@switch("--interactive", "-i", help="Keep STDIN open")
@option("--port", help="Port", type=UINT16)
@option("--dry-run", help="Only say it", default="no")
def _example(**_flags: Any) -> None:
    """Never called: its flags are what is read."""


FLAGS: tuple[Flag, ...] = flags_of(_example)
NONE = {"memory": None, "env": (), "tty": None, "interactive": None, "port": None, "dry_run": "no"}


@pytest.mark.parametrize(
    ("words", "values", "operands"),
    [
        ([], {}, ()),
        (["a", "-t", "b"], {"tty": True}, ("a", "b")),
        (["-it", "x"], {"tty": True, "interactive": True}, ("x",)),
        (["-ite", "A=1", "x"], {"tty": True, "interactive": True, "env": ("A=1",)}, ("x",)),
        (["-eA=1", "-e=B=2", "--env=C", "--env", "-D"], {"env": ("A=1", "B=2", "C", "-D")}, ()),
        (["-m3", "-m", "4", "--memory=5"], {"memory": 5}, ()),
        (["--tty=false", "-i=1"], {"tty": False, "interactive": True}, ()),
        (["-m", "0x10"], {"memory": 16}, ()),
        (["-m", "-010"], {"memory": -8}, ()),
        (["-m", "1_000"], {"memory": 1000}, ()),
        (["-m", "0"], {"memory": 0}, ()),
        (["--", "-t", "--nosuch"], {}, ("-t", "--nosuch")),
        (["-", "--dry-run="], {"dry_run": ""}, ("-",)),
    ],
)
def test_words_become_values_and_operands(words: list[str], values: dict[str, object], operands: tuple[str, ...]) -> None:
    found = read(FLAGS, words, interspersed=True)
    assert (found.values, found.operands, found.help) == (NONE | values, operands, False)


def test_without_interspersing_flags_end_at_the_first_operand() -> None:
    found = read(FLAGS, ["-t", "image", "sh", "-c", "--tty=false"], interspersed=False)
    assert (found.values["tty"], found.operands) == (True, ("image", "sh", "-c", "--tty=false"))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--nosuch=1"], "unknown flag: --nosuch"),
        (["-tzx"], "unknown shorthand flag: 'z' in -zx"),
        (["--memory"], "flag needs an argument: --memory"),
        (["-tm"], "flag needs an argument: 'm' in -m"),
        (["--=x"], "bad flag syntax: --=x"),
        (["---x"], "bad flag syntax: ---x"),
        (["-m", "x"], 'invalid argument "x" for "-m, --memory" flag: strconv.ParseInt: parsing "x": invalid syntax'),
        (["-m", " 3"], 'invalid argument " 3" for "-m, --memory" flag: strconv.ParseInt: parsing " 3": invalid syntax'),
        (["-m", "-"], 'invalid argument "-" for "-m, --memory" flag: strconv.ParseInt: parsing "-": invalid syntax'),
        (["-m", "9223372036854775808"],
         'invalid argument "9223372036854775808" for "-m, --memory" flag: strconv.ParseInt: parsing "9223372036854775808": value out of range'),
        (["--port", "70000"], 'invalid argument "70000" for "--port" flag: strconv.ParseUint: parsing "70000": value out of range'),
        (["--port", "-1"], 'invalid argument "-1" for "--port" flag: strconv.ParseUint: parsing "-1": invalid syntax'),
        (["-t=2"], 'invalid argument "2" for "-t, --tty" flag: strconv.ParseBool: parsing "2": invalid syntax'),
    ],
)
def test_what_is_wrong_is_said_in_pflags_words(words: list[str], text: str) -> None:
    with pytest.raises(Misuse) as caught:
        read(FLAGS, words, interspersed=True)
    assert (caught.value.message, caught.value.status) == (text, 125)


def test_help_is_asked_for_by_name_or_by_the_old_letter() -> None:
    assert read(FLAGS, ["--help"], interspersed=True).help
    by_letter = read(FLAGS, ["-th"], interspersed=True)
    assert (by_letter.help, by_letter.help_by_letter) == (True, True)


def test_help_wraps_as_pflag_does() -> None:
    @command("make", "THING", summary="Make a thing", least=1, most=1)
    @options("--aux-address", help="Auxiliary IPv4 or IPv6 addresses used by Network driver", type=MAP)
    @option("--driver", "-d", help="Driver to manage the Network", default="bridge")
    @option("--ipam-driver", help="IP Address Management Driver", default="default")
    @switch("--ipv4", help="Enable or disable IPv4 address assignment (default true)")
    @options("--subnet", help="Subnet in CIDR format that represents a network segment", type=STRINGS)
    def make(*_: Any, **__: Any) -> None:
        """Never called."""

    assert make.help_of("docker network make").partition("Options:\n")[2] == """\
      --aux-address map      Auxiliary IPv4 or IPv6 addresses used by
                             Network driver (default map[])
  -d, --driver string        Driver to manage the Network (default "bridge")
      --ipam-driver string   IP Address Management Driver (default "default")
      --ipv4                 Enable or disable IPv4 address assignment
                             (default true)
      --subnet strings       Subnet in CIDR format that represents a
                             network segment
"""


def test_one_word_can_give_several_values() -> None:
    @options("--subnet", help="Subnets", type=STRINGS)
    def make(**_: Any) -> None:
        """Never called."""

    assert read(flags_of(make), ["--subnet", "a,b", "--subnet", "c"], interspersed=True).values == {"subnet": ("a", "b", "c")}
