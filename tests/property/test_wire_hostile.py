"""Bytes from strangers: every decoder of the wire and of the log takes any bytes and answers with a value or with its own error, never with another."""

from __future__ import annotations

import ssl

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from cluster.identity import seal
from cluster.wire import calls, client_hello, codec, rpc
from cluster.wire.codec import BadMessage
from cluster.wire.frames import MAX_FRAME_BYTES, FrameReader, FrameTooLong, frame
from manager.raft.messages import Message
from manager.raft_storage import frames as log_frames
from manager.raft_storage import snapshots
from manager.raft_storage.frames import SegmentHeader

SALT = bytes(seal.SALT_BYTES)
SEALER = seal.Sealer(bytes(seal.KEY_BYTES), SALT)
JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.binary(max_size=30) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)
ANSWERS = tuple(call.answer for call in calls.CALLS.values())
REQUESTS = tuple(sorted({call.request for call in calls.CALLS.values()}, key=lambda kind: kind.__name__))


def _hello() -> bytes:
    """What OpenSSL sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["festoon-renewal/1", "x"])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context.wrap_bio(incoming, outgoing, server_hostname="swarm-manager").do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError


HELLO = _hello()


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_frames_come_out_as_they_were_cut_or_the_reader_says_too_long(pieces: list[bytes]) -> None:
    reader, got = FrameReader(), []
    try:
        for piece in pieces:
            got += reader.feed(piece)
    except FrameTooLong:
        return
    assert b"".join(frame(payload) for payload in got) == b"".join(pieces)[: sum(len(p) + 4 for p in got)]
    assert reader.unfinished_bytes <= MAX_FRAME_BYTES + 4


@given(st.lists(st.binary(max_size=100) | JSON_LIKE.map(lambda v: frame(msgspec.msgpack.encode(v))), max_size=8))
def test_a_connection_takes_anything_or_says_that_it_is_no_protocol(pieces: list[bytes]) -> None:
    connection = rpc.Connection()
    try:
        for piece in pieces:
            connection.receive(piece)
    except rpc.ProtocolError:
        pass


@given(st.sampled_from(REQUESTS), st.binary(max_size=300) | JSON_LIKE.map(msgspec.msgpack.encode))
def test_every_request_is_decoded_or_refused(kind: type, data: bytes) -> None:
    try:
        assert isinstance(codec.decode(data, kind), kind)
    except BadMessage:
        pass


@given(st.sampled_from(ANSWERS), st.binary(max_size=300) | JSON_LIKE.map(msgspec.msgpack.encode))
def test_every_answer_is_decoded_or_refused(kind: object, data: bytes) -> None:
    try:
        codec.decode(data, kind)
    except BadMessage:
        pass


@given(st.binary(max_size=300), st.binary(max_size=60))
def test_a_snapshot_of_another_manager_is_unpacked_or_refused(packed: bytes, members: bytes) -> None:
    for data in (packed, len(members).to_bytes(4, "little") + members + packed):
        try:
            snapshots.unpack(1, 1, data)
        except ValueError:  # what manager/peers.py takes for a broken connection
            pass


@given(st.binary(max_size=300) | JSON_LIKE.map(msgspec.msgpack.encode))
def test_changes_are_decoded_or_refused(data: bytes) -> None:
    try:
        codec.decode_changes(data)
    except BadMessage:
        pass


@given(st.binary(max_size=300) | JSON_LIKE.map(msgspec.msgpack.encode))
def test_messages_between_managers_are_decoded_or_refused(data: bytes) -> None:
    try:
        msgspec.msgpack.decode(data, type=tuple[Message, ...])
    except (msgspec.MsgspecError, ValueError):  # what manager/peers.py takes for a broken connection
        pass


@given(st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=6), st.data())
def test_a_log_segment_gives_back_what_was_written_before_the_first_damage(payloads: list[bytes], data: st.DataObject) -> None:
    header = SegmentHeader(7, 99, SALT)
    body, chain = log_frames.encode_header(header), header.chain
    ends = [len(body)]
    for sequence, payload in enumerate(payloads):
        packed, chain = log_frames.encode_frame(SEALER, 7, sequence, chain, payload)
        body += packed
        ends.append(len(body))
    at = data.draw(st.integers(log_frames.HEADER_BYTES, len(body) - 1))
    bent = bytearray(body)
    bent[at] ^= data.draw(st.integers(1, 255))
    found = log_frames.scan(bytes(bent), header, SEALER)
    whole = sum(end <= at for end in ends) - 1
    assert found.payloads[:whole] == tuple(payloads[:whole])
    assert all(one == other for one, other in zip(found.payloads, payloads, strict=False)), "nothing is read that was not written"


@given(st.binary(max_size=400))
def test_any_bytes_are_no_log_segment_and_no_header(data: bytes) -> None:
    assert log_frames.scan(data, SegmentHeader(1, 0, SALT), SEALER).payloads == ()
    header = log_frames.decode_header(data)
    assert header is None or log_frames.encode_header(header) == data[: log_frames.HEADER_BYTES]


@given(st.binary(max_size=300))
def test_any_bytes_name_no_protocol_or_some(data: bytes) -> None:
    assert isinstance(client_hello.protocols(data), tuple)
    assert client_hello.record_bytes(data[:5]) <= client_hello.MAX_RECORD_BYTES + client_hello.RECORD_HEADER_BYTES


@given(st.integers(0, 600), st.integers(0, 255))
def test_a_bent_or_cut_hello_is_read_or_names_nothing(at: int, byte: int) -> None:
    whole = HELLO
    assert client_hello.protocols(whole) == ("festoon-renewal/1", "x")
    bent = bytearray(whole)
    bent[at % len(bent)] = byte
    assert isinstance(client_hello.protocols(bytes(bent)), tuple)
    assert client_hello.protocols(whole[: at % len(whole)]) == ()
