"""What a call says of itself."""

from hamlet.core import ChatRequest, Message, Text
from hamlet.gateway import Call


def test_prompt_bytes_counts_text_in_utf8() -> None:
    request = ChatRequest("r", (Message("user", (Text("안녕"),)),))
    assert Call.from_request(request).prompt_bytes == 6
