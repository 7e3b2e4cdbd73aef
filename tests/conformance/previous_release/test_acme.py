"""Acme's bytes, and the conformance kit over them."""

import json

from hamlet_acme import Acme, Settings

from hamlet.core import FinishReason, Usage
from hamlet.testing import Wire
from hamlet.testing.wire_conformance import WireConformance

WHY = {FinishReason.STOP: "eos", FinishReason.LENGTH: "max"}


class AcmeWire(Wire):
    kind = "acme"

    def whole(self, answer):
        return _dump({"id": answer.id, "text": answer.text, **self._end(answer)})

    def frames(self, answer, pieces=3):
        size = max(1, -(-len(answer.text) // pieces))
        cuts = [answer.text[i : i + size] for i in range(0, len(answer.text), size)]
        frames = [_frame("start", {"id": answer.id}), *(_frame("text", {"t": cut}) for cut in cuts)]
        return [*frames, _frame("end", self._end(answer)), b": bye\n\n"]

    def error(self, status):
        return _dump({"code": "some_code", "message": "went wrong"})

    def stream_error(self):
        return _frame("oops", {})

    def keepalive(self):
        return b": still here\n\n"

    def reasons(self):
        return {
            "eos": FinishReason.STOP,
            "max": FinishReason.LENGTH,
            "filter": FinishReason.CONTENT_FILTER,
            "new": FinishReason.OTHER,
        }

    def golden(self):
        hello = {"who": "user", "says": "Hello"}
        body = {"model": self.model, "messages": [hello], "stream": False}
        brief = {"who": "system", "says": "Be brief."}
        params = {"max_tokens": 50, "temperature": 0.5, "top_p": 0.9, "stop": ["END"]}
        return {
            "text": {**body, "messages": [brief, hello]},
            "params": {**body, **params},
            "extra": {**body, "vendor_knob": {"deep": [1, None]}},
        }

    def _end(self, answer):
        usage: Usage = answer.usage
        cached = usage.cache_read_tokens or 0
        counts = {"in": usage.input_tokens - cached, "out": usage.output_tokens, "cached": cached}
        return {"why": answer.raw_reason or WHY[answer.reason], "usage": counts}


class TestAcme(WireConformance):
    wire = AcmeWire()

    def make(self, base_url, runtime):
        return Acme(Settings(base_url=base_url), runtime)


def _dump(value):
    return json.dumps(value, ensure_ascii=False).encode()


def _frame(event, value):
    return b"event: " + event.encode() + b"\ndata: " + _dump(value) + b"\n\n"
