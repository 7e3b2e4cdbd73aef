"""Reading, replaying and recording over ASGI messages."""

import pytest

from hamlet.migration.proxy.asgi_messages import (
    BodyTooLarge,
    ResponseRecorder,
    read_body,
    replay_body,
    response_body,
    response_start,
)


def receive_from(*messages: dict):
    remaining = list(messages)

    async def receive() -> dict:
        return remaining.pop(0)

    return receive


def request(body: bytes, *, more_body: bool = False) -> dict:
    return {"type": "http.request", "body": body, "more_body": more_body}


async def test_body_is_joined_and_limited() -> None:
    assert await read_body(receive_from(request(b"abc")), 3) == b"abc"
    parts = (request(b"ab", more_body=True), request(b"c"))
    assert await read_body(receive_from(*parts), 3) == b"abc"
    for messages, kept in (((request(b"abcd"),), [b"abcd"]), (parts, [b"ab", b"c"])):
        with pytest.raises(BodyTooLarge) as caught:
            await read_body(receive_from(*messages), 2)
        assert caught.value.parts == kept
    with pytest.raises(ConnectionResetError):
        await read_body(receive_from(parts[0], {"type": "http.disconnect"}), 3)


async def test_replayed_body_precedes_the_rest() -> None:
    receive = replay_body([b"a", b"b"], receive_from(request(b"c")), more_body=True)
    assert await read_body(receive, 10) == b"abc"


async def record(recorder: ResponseRecorder, status: int, *parts: bytes) -> None:
    await recorder(response_start(status, []))
    for i, part in enumerate(parts, 1):
        await recorder(response_body(part, more_body=i < len(parts)))


async def test_errors_are_held_back_and_can_be_sent_later() -> None:
    sent: list[dict] = []

    async def send(message: dict) -> None:
        sent.append(message)

    held_value = ResponseRecorder(send, hold_errors=True)
    await record(held_value, 500, b"no")
    assert (sent, held_value.has_started, held_value.is_server_failure) == ([], False, True)
    await held_value.send_held_messages(send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]

    sent.clear()
    forwarded = ResponseRecorder(send, hold_errors=True, capture_limit_bytes=100)
    await record(forwarded, 200, b"on", b"e")
    assert len(sent) == 3
    assert forwarded.captured_response().body == b"one"
    assert not forwarded.is_server_failure


@pytest.mark.parametrize("frame", [b"event: error\ndata: {}\n\n", b'data: {"error": {}}\n\n'])
async def test_error_event_at_the_end_of_a_stream_is_a_failure(frame) -> None:
    async def send(message: dict) -> None:
        return None

    recorder = ResponseRecorder(send)
    await record(recorder, 200, b"data: {}\n\n", frame)
    assert recorder.is_server_failure


async def test_capture_over_the_limit_is_incomplete() -> None:
    async def send(message: dict) -> None:
        return None

    recorder = ResponseRecorder(send, capture_limit_bytes=2)
    await record(recorder, 200, b"abc", b"d")
    response = recorder.captured_response()
    assert (response.body, response.is_complete) == (b"abc", False)
