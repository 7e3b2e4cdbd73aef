"""The precedence of parameters, and those that a deployment cannot take."""

import pytest

from hamlet.config import Policy
from hamlet.core import ChatParams, ChatRequest, Message, ModelCard, Text, errors
from hamlet.gateway import Call
from hamlet.gateway.parameters import prepare_chat, prepare_native, speaks
from hamlet.testing import ScriptedProvider
from hamlet.testing.scripted import ScriptedNative
from support.gateways import deployment

STRICT = Policy(unsupported="reject")


def call(dialect: str | None = None, **params: object) -> Call:
    request = ChatRequest("r", (Message("user", (Text("hi"),)),), params=ChatParams(**params))
    made = Call.of(request)
    made.dialect = dialect
    return made


def test_what_was_set_wins_over_defaults_and_caps_bound_it() -> None:
    target = deployment(
        ScriptedProvider(),
        defaults=ChatParams(temperature=0.2, stop=("x",), extra={"a": 1, "b": 1}),
        caps=ChatParams(max_tokens=10, temperature=1.0),
    )
    asked = call(stop=(), max_tokens=50, extra={"b": 2})
    request, warnings = prepare_chat(asked, target, Policy())
    assert request.model == "m"
    assert request.params.sent() == {"temperature": 0.2, "stop": (), "max_tokens": 10}
    assert request.params.extra == {"a": 1, "b": 2}
    assert warnings == ()


def test_an_explicit_null_sends_nothing_and_beats_a_default() -> None:
    target = deployment(ScriptedProvider(), defaults=ChatParams(temperature=0.2))
    request, _ = prepare_chat(call(temperature=None), target, Policy())
    assert request.params.sent() == {}


def test_a_cap_on_max_tokens_holds_for_those_who_did_not_ask() -> None:
    target = deployment(ScriptedProvider(), caps=ChatParams(max_tokens=9, top_p=0.5))
    request, _ = prepare_chat(call(), target, Policy())
    assert request.params.sent() == {"max_tokens": 9}


def test_what_a_deployment_cannot_take_is_left_out_and_named() -> None:
    target = deployment(ScriptedProvider(), card=ModelCard(params=frozenset({"seed", "knob"})))
    asked = call("openai", seed=1, top_k=3, extra={"knob": 1, "odd": 2})
    request, warnings = prepare_chat(asked, target, Policy())
    assert request.params.sent() == {"seed": 1}
    assert request.params.extra == {"knob": 1}
    assert warnings == ("odd", "top_k")


def test_strict_mode_refuses_instead() -> None:
    target = deployment(ScriptedProvider(), card=ModelCard(params=frozenset()))
    with pytest.raises(errors.Unsupported, match="seed, top_k"):
        prepare_chat(call(seed=1, top_k=3), target, STRICT)


def test_unknown_parameters_do_not_cross_dialects_but_defaults_do() -> None:
    target = deployment(ScriptedNative(), defaults=ChatParams(extra={"theirs": 1}))
    request, warnings = prepare_chat(call("anthropic", extra={"odd": 1}), target, Policy())
    assert request.params.extra == {"theirs": 1}
    assert warnings == ("odd",)


def test_no_extra_may_be_left() -> None:
    request, warnings = prepare_chat(
        call("anthropic", extra={"odd": 1}), deployment(ScriptedNative()), Policy()
    )
    assert request.params.extra == {}
    assert warnings == ("odd",)


def test_the_fast_lane_sends_only_what_changed() -> None:
    target = deployment(
        ScriptedNative(),
        defaults=ChatParams(temperature=0.2),
        caps=ChatParams(max_tokens=10),
        card=ModelCard(params=frozenset({"temperature", "max_tokens", "seed"})),
    )
    asked = call("openai", max_tokens=50, seed=7, top_k=3)
    request, warnings = prepare_native(asked, target, Policy())
    assert request.overrides.sent() == {"temperature": 0.2, "max_tokens": 10}
    assert request.dropped == frozenset({"top_k"})
    assert warnings == ("top_k",)


def test_the_fast_lane_changes_nothing_when_nothing_changed() -> None:
    request, _ = prepare_native(call("openai", seed=7), deployment(ScriptedNative()), Policy())
    assert request.overrides.sent() == {}


def test_the_fast_lane_needs_equal_dialects_and_a_lane() -> None:
    assert speaks(deployment(ScriptedNative()), call("openai"))
    assert not speaks(deployment(ScriptedNative()), call("anthropic"))
    assert not speaks(deployment(ScriptedNative()), call())
    assert not speaks(deployment(ScriptedProvider()), call("openai"))


def test_the_portable_request_is_built_once() -> None:
    built = []

    def build() -> ChatRequest:
        built.append(1)
        return ChatRequest("r", ())

    made = call()
    lazy = Call("r", False, made.params, made.features, build)
    assert lazy.request is lazy.request
    assert built == [1]
