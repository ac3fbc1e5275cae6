"""`user[:group]` against the image's own files."""

from pathlib import Path

import pytest

from agent.users import read_from_layers, resolve
from cluster.model.errors import InvalidArgument
from runtime.spec import User

PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65533:n:/home:/bin/false\n"
GROUP = "root:x:0:\nstaff:x:50:nobody\n"


@pytest.mark.parametrize(
    ("text", "user", "home"),
    [
        ("", User(0, 0, (0,)), "/root"),
        ("nobody", User(65534, 65533, (65533, 50)), "/home"),
        ("65534", User(65534, 65533, (65533, 50)), "/home"),
        ("nobody:staff", User(65534, 50, (50,)), "/home"),
        ("1234", User(1234, 0, (0,)), "/"),
        ("1234:77", User(1234, 77, (77,)), "/"),
    ],
)
def test_resolution(text: str, user: User, home: str) -> None:
    assert resolve(text, PASSWD, GROUP) == (user, home)


def test_unknown_names_are_errors() -> None:
    with pytest.raises(InvalidArgument, match="unable to find user who: no matching entries in passwd file"):
        resolve("who", PASSWD, GROUP)
    with pytest.raises(InvalidArgument, match="unable to find group what"):
        resolve("root:what", PASSWD, GROUP)
    with pytest.raises(InvalidArgument, match="uids and gids must be in range 0-2147483647"):
        resolve("root", PASSWD, GROUP, ("9999999999",))


def test_the_topmost_layer_wins_and_links_are_not_followed(tmp_path: Path) -> None:
    top, middle, bottom = (tmp_path / n for n in ("top", "middle", "bottom"))
    for layer, text in ((middle, "mine"), (bottom, "old")):
        (layer / "etc").mkdir(parents=True)
        (layer / "etc/passwd").write_text(text)
    (top / "etc").mkdir(parents=True)
    (top / "etc/passwd").symlink_to("/etc/passwd")
    assert read_from_layers((str(top), str(middle), str(bottom)), "passwd") == "mine"
    assert read_from_layers((str(tmp_path / "none"),), "passwd") == ""


def test_a_folder_in_the_place_of_a_file_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "etc/group").mkdir(parents=True)
    assert read_from_layers((str(tmp_path),), "group") == ""
