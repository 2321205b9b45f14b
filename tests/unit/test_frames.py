"""Frames: a stream of any bytes is cut the same however it arrives, and never raises."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_k8s_netem.model.frames import MAX_FRAME, Decoder, FrameError, encode

LINES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"{}", b'{"op":"hello"}', b"[]", b"nul", b'{"x":1e999}', b'{"x":NaN}', b'"\xff"', b"[" * 5000]),
)


def shown(results: list[dict[str, object] | FrameError]) -> list[object]:
    return [str(item) if isinstance(item, FrameError) else item for item in results]


@given(st.lists(LINES, max_size=8).map(b"\n".join), st.lists(st.integers(1, 50), max_size=20))
@example(b"\xff\xfe{\x00}\x00\n", [1])
def test_the_decoder_is_total_and_does_not_depend_on_how_bytes_arrive(data: bytes, cuts: list[int]) -> None:
    whole = list(Decoder().feed(data))
    pieces, decoder = [], Decoder()
    for cut in cuts:
        pieces += decoder.feed(data[:cut])
        data = data[cut:]
    pieces += decoder.feed(data)
    assert shown(pieces) == shown(whole)


@given(st.dictionaries(st.text(), st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists)))
def test_what_was_encoded_is_decoded(frame: dict[str, object]) -> None:
    assert list(Decoder().feed(encode(frame))) == [frame]


@pytest.mark.parametrize("surplus", [0, 1])
@pytest.mark.parametrize("chunk", [1 << 16, MAX_FRAME, MAX_FRAME + 10])
def test_a_line_may_be_just_as_long_as_promised(surplus: int, chunk: int) -> None:
    shell = len(json.dumps({"x": ""})) + 1
    line = json.dumps({"x": "a" * (MAX_FRAME - shell + surplus)}).encode() + b"\n"
    data = line + b'{"next":1}\n'
    decoder = Decoder()
    seen = [item for at in range(0, len(data), chunk) for item in decoder.feed(data[at : at + chunk])]
    assert isinstance(seen[0], FrameError) is bool(surplus)
    assert seen[1:] == [{"next": 1}]
    assert not decoder.pending


def test_a_line_without_end_costs_no_memory() -> None:
    decoder = Decoder()
    seen = [item for _ in range(100) for item in decoder.feed(b"x" * (1 << 16))]
    assert len(seen) == 1
    assert len(decoder._buffer) < MAX_FRAME
    assert list(decoder.feed(b'\n{"op":"hello"}\n')) == [{"op": "hello"}]


def test_a_frame_that_is_too_long_is_not_sent() -> None:
    with pytest.raises(FrameError, match="at most"):
        encode({"x": "a" * MAX_FRAME})
