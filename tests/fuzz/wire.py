"""`python -m tests.fuzz.wire TARGET [libFuzzer's options]`: coverage-guided fuzzing of what reads bytes of others, by atheris.

Owns the targets and their seeds, which are made by the product's own encoders, so that the corpus is code. A target returns when the bytes
were decoded or refused by the error that its callers expect; anything else ends the run with the bytes that did it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris  # type: ignore[import-not-found,unused-ignore]

with atheris.instrument_imports(include=["cluster", "manager"]):
    import msgspec

    from cluster.identity import seal
    from cluster.model.changes import created
    from cluster.model.errors import InvalidArgument
    from cluster.model.ids import NetworkId
    from cluster.model.objects import Network
    from cluster.model.specs import NetworkSpec
    from cluster.wire import calls, client_hello, codec, rpc
    from cluster.wire.codec import BadMessage
    from cluster.wire.http_answer import ClientSide
    from cluster.wire.http_events import HttpError, Signal
    from manager.raft.log import Entry
    from manager.raft.membership import of_voters
    from manager.raft.messages import Message, MessageKind
    from manager.raft.witness import Held
    from manager.raft_storage import frames, saved, snapshots
    from manager.raft_storage.frames import SegmentHeader
    from manager.raft_storage.records import Record
    from manager.raft_storage.snapshots import Snapshot

KEY, SALT = bytes(seal.KEY_BYTES), bytes(seal.SALT_BYTES)
SEALER = seal.Sealer(KEY, SALT)
HEADER = SegmentHeader(1, 0, SALT)
SNAPSHOT = Snapshot(3, 1, b"store", of_voters(1, 2, 3))
KINDS = tuple(dict.fromkeys(kind for call in calls.CALLS.values() for kind in (call.request, call.answer)))


def a_connection(data: bytes) -> None:
    try:
        rpc.Connection().receive(data)
    except rpc.ProtocolError:
        pass


def a_call(data: bytes) -> None:
    """The first byte chooses what is read."""
    try:
        codec.decode(data[1:], KINDS[data[0] % len(KINDS)] if data else KINDS[0])
    except BadMessage:
        pass


def changes(data: bytes) -> None:
    try:
        codec.decode_changes(data)
    except BadMessage:
        pass


def members_messages(data: bytes) -> None:
    try:
        msgspec.msgpack.decode(data, type=tuple[Message, ...])
    except (msgspec.MsgspecError, ValueError):
        pass


def a_snapshot(data: bytes) -> None:
    try:
        snapshots.unpack(1, 1, data)
    except ValueError:
        pass


def a_saved_snapshot(data: bytes) -> None:
    try:
        saved.read(data, KEY)
    except InvalidArgument:
        pass


def a_segment(data: bytes) -> None:
    frames.decode_header(data)
    frames.scan(data, HEADER, SEALER)


def a_record(data: bytes) -> None:
    try:
        msgspec.msgpack.decode(data, type=Record)
    except msgspec.MsgspecError:
        pass


def a_hello(data: bytes) -> None:
    client_hello.record_bytes(data[:5].ljust(5, b"\0"))
    client_hello.protocols(data)


def an_answer(data: bytes) -> None:
    """Of the Engine API's server, to its client."""
    side = ClientSide()
    side.request("GET", "/x", ())
    side.receive(data)
    try:
        while not isinstance(side.next(), Signal):
            pass
    except HttpError:
        pass


def _segment() -> bytes:
    frame, _ = frames.encode_frame(SEALER, 1, 0, 0, msgspec.msgpack.encode(Record(1, 1, 0, (Entry(1, 1, b"x"),))))
    return frames.encode_header(HEADER) + frame


def _asked() -> bytes:
    connection = rpc.Connection()
    connection.request("agent.heartbeat", codec.encode(calls.Nothing()), stream=False)
    connection.ping(1)
    return connection.take_outgoing()


_NETWORK = created(Network(NetworkId("n"), NetworkSpec("n")))
_MESSAGE = Message(MessageKind.APPEND, 1, 2, 3, 4, 3, (Entry(5, 3, b"data"),), 4, membership=of_voters(1), held=(Held(1, 4, 3),))
TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], bytes]]] = {
    "connection": (a_connection, _asked),
    "call": (a_call, lambda: b"\0" + codec.encode(calls.IssueCertificate("csr", "token"))),
    "changes": (changes, lambda: codec.encode_changes((_NETWORK,))),
    "messages": (members_messages, lambda: msgspec.msgpack.encode((_MESSAGE,))),
    "snapshot": (a_snapshot, lambda: snapshots.pack(SNAPSHOT)),
    "saved": (a_saved_snapshot, lambda: b"".join(saved.write(SNAPSHOT, KEY, "cluster", 1))),
    "segment": (a_segment, _segment),
    "record": (a_record, lambda: msgspec.msgpack.encode(Record(1, 1, 0, (Entry(1, 1, b"x"),)))),
    "hello": (a_hello, lambda: b"\x16\x03\x01\x00\x30\x01\x00\x00\x2c\x03\x03" + bytes(32)),
    "answer": (an_answer, lambda: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
}


def main() -> None:
    target, seed = TARGETS[sys.argv[1]]
    with TemporaryDirectory() as corpus:
        (Path(corpus) / "seed").write_bytes(seed())
        target(seed())  # what our own encoders write is decoded
        atheris.Setup([sys.argv[0], *sys.argv[2:], corpus], target)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
