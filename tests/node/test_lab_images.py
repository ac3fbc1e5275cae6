"""The lab's images: they load, and whoami answers every one of many requests at once with what it received."""

from __future__ import annotations

import io
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab import images
from runtime.images.store import ImageStore

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not images.BUSYBOX.exists(), reason="needs root and Debian's busybox-static")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """whoami's file system, its two layers one over the other (copied: no mount is needed)."""
    folder = tmp_path_factory.mktemp("whoami")
    store = ImageStore(folder / "images")
    for data in images.archives().values():
        store.load(io.BytesIO(data))
    target = folder / "root"
    for lower in reversed(store.lower_dirs(store.get(images.WHOAMI_NAME).id)):
        subprocess.run(["cp", "-a", f"{lower}/.", str(target)], check=True)
    store.close()
    return target


def test_archives_are_the_same_each_time() -> None:
    assert images.archives() == images.archives()


def test_both_images_share_the_busybox_layer(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "images")
    lines = [store.load(io.BytesIO(data)) for data in images.archives().values()]
    assert lines == [["Loaded image: busybox:latest"], ["Loaded image: containous/whoami:latest"]]
    assert len(list((tmp_path / "images" / "layers").iterdir())) == 2
    assert store.get("busybox").config.cmd == ("sh",)
    store.close()


SERVE = """
mount -t proc proc {root}/proc && ip link set lo up && ip addr add 10.9.9.9/24 dev lo
hostname fdf7c1354507
exec chroot {root} /bin/busybox nc -{l} -p 80 -e /whoami
"""


@pytest.fixture
def server(root: Path) -> Iterator[int]:
    """A descriptor of the network namespace in which whoami serves; the process ends with it."""
    script = SERVE.format(root=root, l="l" * images.BACKLOG)
    process = subprocess.Popen(["unshare", "--net", "--mount", "--uts", "sh", "-c", script])
    try:
        while True:  # the kernel says when it listens: /proc/PID/net/tcp shows the namespace's sockets
            assert process.poll() is None
            shown = Path(f"/proc/{process.pid}/net/tcp").read_text() + Path(f"/proc/{process.pid}/net/tcp6").read_text()
            if re.search(r":0050 \S+ 0A", shown) and "\n" in shown:
                break
        descriptor = os.open(f"/proc/{process.pid}/ns/net", os.O_RDONLY)
        yield descriptor
        os.close(descriptor)
    finally:
        process.kill()
        process.wait()


def ask(namespace: int, request: bytes) -> tuple[int, bytes]:
    from netfabric.netlink.netns import in_namespace

    with in_namespace(namespace):
        connection = socket.socket()
    with connection:
        connection.settimeout(20)
        connection.connect(("10.9.9.9", 80))
        port = connection.getsockname()[1]
        connection.sendall(request)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return port, answer


REQUEST = b"GET /path?q=1 HTTP/1.1\r\nHost: 192.168.200.10:8080\r\nX-Odd: a  b\\n %s\r\nAccept: */*\r\n\r\n"


def test_whoami_answers_as_the_seed_shows(server: int) -> None:
    port, answer = ask(server, REQUEST)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert body == (b"Hostname: fdf7c1354507\nIP: 127.0.0.1\nIP: 10.9.9.9\n" + f"RemoteAddr: 10.9.9.9:{port}\n".encode() + REQUEST)


def test_a_body_is_taken_and_the_answer_is_whole(server: int) -> None:
    _, answer = ask(server, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n" + b"z" * 70000)
    assert answer.endswith(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n")


def test_no_request_of_many_at_once_is_lost(server: int) -> None:
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: ask(server, REQUEST), range(200)))
    assert all(f"RemoteAddr: 10.9.9.9:{port}\n".encode() in answer and answer.endswith(REQUEST) for port, answer in answers)
