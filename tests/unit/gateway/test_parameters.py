"""The precedence of parameters, and what happens to unsupported ones."""

import pytest

from hamlet.config import Policy
from hamlet.core import ChatParams, ChatRequest, Message, ModelCard, Text, errors
from hamlet.gateway import Call
from hamlet.gateway.parameters import can_use_native, prepare_chat, prepare_native
from hamlet.providers.anthropic import Anthropic
from hamlet.providers.openai import OpenAI
from hamlet.registry.build import find_card
from hamlet.testing import ScriptedProvider
from hamlet.testing.scripted import ScriptedNativeProvider
from support.gateway import deployment

STRICT = Policy(unsupported="reject")


def make_call(dialect: str | None = None, **params: object) -> Call:
    request = ChatRequest("r", (Message("user", (Text("hi"),)),), params=ChatParams(**params))
    made = Call.from_request(request)
    made.dialect = dialect
    return made


def test_request_overrides_defaults_and_caps_limit_it() -> None:
    target = deployment(
        ScriptedProvider(),
        defaults=ChatParams(temperature=0.2, stop=("x",), extra={"a": 1, "b": 1}),
        caps=ChatParams(max_tokens=10, temperature=1.0),
    )
    call = make_call(stop=(), max_tokens=50, extra={"b": 2})
    request, warnings = prepare_chat(call, target, Policy())
    assert request.model == "m"
    assert request.params.wire_fields() == {"temperature": 0.2, "stop": (), "max_tokens": 10}
    assert request.params.extra == {"a": 1, "b": 2}
    assert warnings == ()


def test_explicit_null_overrides_default_and_is_not_sent() -> None:
    target = deployment(ScriptedProvider(), defaults=ChatParams(temperature=0.2))
    request, _ = prepare_chat(make_call(temperature=None), target, Policy())
    assert request.params.wire_fields() == {}


def test_max_tokens_cap_applies_when_unset() -> None:
    target = deployment(ScriptedProvider(), caps=ChatParams(max_tokens=9, top_p=0.5))
    request, _ = prepare_chat(make_call(), target, Policy())
    assert request.params.wire_fields() == {"max_tokens": 9}


def test_unsupported_parameters_are_dropped_and_reported() -> None:
    target = deployment(ScriptedProvider(), card=ModelCard(params=frozenset({"seed", "knob"})))
    call = make_call("openai", seed=1, top_k=3, extra={"knob": 1, "odd": 2})
    request, warnings = prepare_chat(call, target, Policy())
    assert request.params.wire_fields() == {"seed": 1}
    assert request.params.extra == {"knob": 1}
    assert warnings == ("odd", "top_k")


@pytest.mark.parametrize(
    ("vendor", "model", "supported"),
    [
        (OpenAI, "gpt-5-mini", True),
        (OpenAI, "gpt-4o", False),
        (OpenAI, "o3", False),
        (OpenAI, "a-new-model", False),
        (Anthropic, "claude-sonnet-4-5", False),
    ],
)
def test_verbosity_reaches_only_models_that_take_it(vendor, model: str, supported: bool) -> None:
    target = deployment(ScriptedProvider(), card=find_card(vendor.cards, model))
    request, warnings = prepare_chat(make_call(verbosity="low"), target, Policy())
    assert request.params.wire_fields() == ({"verbosity": "low"} if supported else {})
    assert warnings == (() if supported else ("verbosity",))


def test_strict_policy_rejects_unsupported_parameters() -> None:
    target = deployment(ScriptedProvider(), card=ModelCard(params=frozenset()))
    with pytest.raises(errors.Unsupported, match="seed, top_k"):
        prepare_chat(make_call(seed=1, top_k=3), target, STRICT)


def test_unknown_parameters_do_not_cross_dialects_but_defaults_do() -> None:
    target = deployment(ScriptedNativeProvider(), defaults=ChatParams(extra={"theirs": 1}))
    request, warnings = prepare_chat(make_call("anthropic", extra={"odd": 1}), target, Policy())
    assert request.params.extra == {"theirs": 1}
    assert warnings == ("odd",)


def test_dropped_extra_leaves_none() -> None:
    request, warnings = prepare_chat(
        make_call("anthropic", extra={"odd": 1}), deployment(ScriptedNativeProvider()), Policy()
    )
    assert request.params.extra == {}
    assert warnings == ("odd",)


def test_native_path_sends_only_changes() -> None:
    target = deployment(
        ScriptedNativeProvider(),
        defaults=ChatParams(temperature=0.2),
        caps=ChatParams(max_tokens=10),
        card=ModelCard(params=frozenset({"temperature", "max_tokens", "seed"})),
    )
    call = make_call("openai", max_tokens=50, seed=7, top_k=3)
    request, warnings = prepare_native(call, target, Policy())
    assert request.overrides.wire_fields() == {"temperature": 0.2, "max_tokens": 10}
    assert request.dropped == frozenset({"top_k"})
    assert warnings == ("top_k",)


def test_native_path_is_unchanged_without_changes() -> None:
    request, _ = prepare_native(
        make_call("openai", seed=7), deployment(ScriptedNativeProvider()), Policy()
    )
    assert request.overrides.wire_fields() == {}


def test_native_path_requires_equal_dialects_and_support() -> None:
    assert can_use_native(deployment(ScriptedNativeProvider()), make_call("openai"))
    assert not can_use_native(deployment(ScriptedNativeProvider()), make_call("anthropic"))
    assert not can_use_native(deployment(ScriptedNativeProvider()), make_call())
    assert not can_use_native(deployment(ScriptedProvider()), make_call("openai"))


def test_portable_request_is_built_once() -> None:
    built = []

    def build() -> ChatRequest:
        built.append(1)
        return ChatRequest("r", ())

    made = make_call()
    lazy = Call("r", False, made.params, made.features, build)
    assert lazy.request is lazy.request
    assert built == [1]
