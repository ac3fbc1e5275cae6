"""Which mounts a container gets, and what the runtime is told of them."""

from __future__ import annotations

import pytest

from agent.engine.convert_mounts import mount_point_json
from agent.mount_points import SHORT, anonymous_names, points, short_tmpfs_options, tmpfs_options
from agent.records import HostConfig
from agent.volumes import check
from cluster.model.errors import InvalidArgument, NotFound
from cluster.model.specs import Mount


def named() -> str:
    return "n" * 64


def test_what_the_user_mounts_comes_before_the_images_volumes() -> None:
    host = HostConfig(mounts=(Mount("bind", "/src", "/data/", False),))
    found = points(host, ("/data", "/other/"), lambda _: (), named)
    assert [(m.kind, m.target) for m in found] == [("bind", "/data"), ("volume", "/other")]
    assert anonymous_names(found) == (named(),)


def test_volumes_from_another_container_are_shared_but_not_owned() -> None:
    theirs = (Mount("volume", "v", "/v", False, (("anonymous", "true"),)), Mount("tmpfs", "", "/t"))
    found = points(HostConfig(volumes_from=("other:ro",)), (), lambda name: theirs if name == "other" else (), named)
    assert found == (Mount("volume", "v", "/v", True, ()),)
    assert anonymous_names(found) == ()


def test_the_mode_that_is_shown_tells_how_a_volume_was_asked_for() -> None:
    def modes(host: HostConfig, *volumes: str) -> dict[str, str]:
        return {m.target: mount_point_json(m, "/volumes")["Mode"] for m in points(host, volumes, lambda _: asked, named)}

    asked = (Mount("volume", "", "/w"), Mount("volume", "a", "/x"), Mount("volume", "b", "/n", False, ((SHORT, "b:/n"),)),
             Mount("volume", "c", "/o", False, ((SHORT, "c:/o:nocopy"),)), Mount("bind", "/src", "/b"))  # fmt: skip
    assert modes(HostConfig(mounts=asked), "/anonymous") == {"/w": "z", "/x": "z", "/n": "z", "/o": "nocopy", "/b": "", "/anonymous": ""}
    assert set(modes(HostConfig(volumes_from=("other",))).values()) == {""}


def test_volumes_from_takes_a_label_beside_its_mode() -> None:
    theirs = (Mount("bind", "/src", "/b"),)
    assert [points(HostConfig(volumes_from=(text,)), (), lambda _: theirs, named)[0].read_only for text in ("c", "c:rw", "c:Z,ro")] == [False, False, True]


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (HostConfig(volumes_from=("c:nosuch",)), "invalid mode: nosuch"),
        (HostConfig(volumes_from=("c:ro,rw",)), "invalid mode: ro,rw"),
        (HostConfig(volumes_from=("",)), "volumes-from specification cannot be an empty string"),
        (HostConfig(mounts=(Mount("tmpfs", "", "/", False, (("short", ""),)),)), "invalid specification: destination can't be '/'"),
        (HostConfig(mounts=(Mount("bind", "/a", "/"),)), "invalid mount config for type \"bind\": invalid specification: destination can't be '/'"),
        (
            HostConfig(mounts=(Mount("volume", "vv", "/", False, (("short", "vv:/"),)),)),
            "invalid volume specification: 'vv:/': invalid mount config for type \"volume\": invalid specification: destination can't be '/'",
        ),
    ],
)
def test_what_cannot_be_is_refused(host: HostConfig, words: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        points(host, (), lambda _: (), named)
    assert refused.value.message == words


def test_tmpfs_options_of_both_forms() -> None:
    assert short_tmpfs_options("size=64m,mode=1770,ro,exec") == (("size", "64m"), ("mode", "1770"), ("exec", ""))
    assert short_tmpfs_options("exec,suid,noexec,size=1m,size=2m,shared") == (("suid", ""), ("size", "2m"), ("propagation", "shared"))
    assert tmpfs_options(Mount("tmpfs", "", "/t", False, (("tmpfs-size", "1024"),))) == (("size", "1024"),)
    with pytest.raises(InvalidArgument, match=r'invalid tmpfs option \["nosuch" "1=2"\]'):
        short_tmpfs_options("nosuch=1=2")
    with pytest.raises(InvalidArgument, match=r'invalid tmpfs option \["nosuch"\]'):
        short_tmpfs_options("nosuch")


@pytest.mark.parametrize(
    ("name", "driver", "options", "words"),
    [
        ("a b", "local", (), "includes invalid characters for a local volume name"),
        ("a/b", "local", (), "If you intended to pass a host directory, use absolute path"),
        ("a", "local", (), "volume name is too short"),
        ("ok", "local", (("nosuch", "1"),), 'invalid option: "nosuch"'),
        ("ok", "local", (("type", "tmpfs"),), 'missing required option: "device"'),
    ],
)
def test_a_volume_that_cannot_be_gets_dockers_words(name: str, driver: str, options: tuple[tuple[str, str], ...], words: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check(name, driver, options)
    assert words in refused.value.message


def test_other_drivers_are_not_found() -> None:
    with pytest.raises(NotFound, match='plugin "nfs" not found'):
        check("ok", "nfs", ())
