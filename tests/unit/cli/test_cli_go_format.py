"""Go's Sprintf in templates: these lines were printed by docker's own client."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.model.go_format import quoted
from cluster.model.templates import Template


@pytest.mark.parametrize(
    ("form", "values", "text"),
    [
        ("%T %x %q %6s|%-6s|%05d", ("linux", "linux", "linux", "linux", "linux", 42), 'string 6c696e7578 "linux"  linux|linux |00042'),
        ("%d %s %t", ("a", 3), "%!d(string=a) %!s(int=3) %!t(MISSING)"),
        ("%s %q %v", (["a"], ["a", "b"], ["a"]), '[a] ["a" "b"] [a]'),
        ("%s", ("a", "b", 1, None), "a%!(EXTRA string=b, int=1, <nil>)"),
        ("%+d %08.3f %e %x %X %o %b %c %U %#x", (5, 1.5, 2.5, 255, 255, 8, 5, 65, 65, 255), "+5 0001.500 2.500000e+00 ff FF 10 101 A U+0041 0xff"),
        ("%v%%%*d%.2s%", (5, 5, 3, "abc"), "5%    3ab%!(NOVERB)"),
        ("%t %d %5t %v", (True, True, False, None), "true %!d(bool=true) false <nil>"),
        ("%d %s %g", (None, None, "x"), "%!d(<nil>) %!s(<nil>) %!g(string=x)"),
        ("%s %T %T %T", ({"b": "1", "a": "2"}, ["a"], {"a": "b"}, None), "map[a:2 b:1] []string map[string]string <nil>"),
        ("%g %f %6.2f|%-8d|% d|%z", (1.5, 1.5, 3.14159, 42, 7, 1), "1.5 1.500000   3.14|42      | 7|%!z(int=1)"),
        ("%#v %v", ("a", "a"), '"a" a'),
    ],
)
def test_a_form_is_filled_as_go_fills_it(form: str, values: tuple[Any, ...], text: str) -> None:
    names = {f"v{number}": value for number, value in enumerate(values)}
    words = " ".join(f".{name}" for name in names)
    assert Template(f"{{{{printf {quoted(form)} {words}}}}}").render(names) == text


def test_text_is_quoted_as_go_quotes_it() -> None:
    assert quoted('a"\\\n\x01é\u200b') == '"a\\"\\\\\\n\\x01é\\u200b"'
    assert quoted("é", ascii_only=True) == '"\\u00e9"'
