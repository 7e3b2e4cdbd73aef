"""Merges parameters (defaults, request, caps) and drops those that a deployment lacks."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import replace

from hamlet.config import Policy
from hamlet.core import ChatParams, ChatRequest, NativeRequest, Terms
from hamlet.core.errors import Unsupported
from hamlet.core.params import NO_PARAMS
from hamlet.gateway.call import Call
from hamlet.registry.model import Deployment

_NO_NAMES: frozenset[str] = frozenset()


def can_use_native(deployment: Deployment, call: Call) -> bool:
    """Whether the deployment takes the caller's own body: its API is of the same dialect."""
    provider = deployment.provider
    same_dialect = call.dialect is not None and provider.dialect == call.dialect
    return same_dialect and "native" in provider.operations


def prepare_chat(
    call: Call, deployment: Deployment, policy: Policy
) -> tuple[ChatRequest, tuple[str, ...]]:
    """The portable request for the adapter, and the sorted names of the dropped parameters.

    Raises Unsupported if the policy rejects a call rather than drop parameters.
    """
    final = _merge_params(call.params, deployment)
    dropped = _unsupported_params(final, deployment) | _foreign_extras(final, call, deployment)
    if dropped:
        _refuse_if_strict(dropped, policy)
        extra = {key: value for key, value in final.extra.items() if key not in dropped}
        final = final.without(dropped | {"extra"})
        if extra:
            final = ChatParams.model_construct(extra=extra).over(final)
    request = replace(
        call.request,
        model=deployment.model,
        params=final,
        stream=call.stream,
        terms=_terms(policy),
    )
    return request, tuple(sorted(dropped))


def prepare_native(
    call: Call, deployment: Deployment, policy: Policy
) -> tuple[NativeRequest, tuple[str, ...]]:
    """The caller's own body with what defaults, caps and the card change, and the dropped names.

    Raises as `prepare_chat`.
    """
    final = _merge_params(call.params, deployment)
    dropped = _unsupported_params(final, deployment)
    if dropped:
        _refuse_if_strict(dropped, policy)
    overrides = NO_PARAMS if final is call.params else _overrides(call.params, final, dropped)
    request = NativeRequest(
        deployment.model, call.fields, call.stream, overrides, dropped, _terms(policy)
    )
    return request, tuple(sorted(dropped)) if dropped else ()


def _overrides(requested: ChatParams, final: ChatParams, dropped: frozenset[str]) -> ChatParams:
    """The parameters that defaults and caps have changed, without the dropped ones."""
    changed = {
        name: value
        for name, value in final.wire_fields().items()
        if name not in dropped and getattr(requested, name) != value
    }
    return ChatParams.model_construct(**changed) if changed else NO_PARAMS


def _terms(policy: Policy) -> Terms:
    return Terms(policy.byte_idle_s, policy.require_filter)


def _merge_params(params: ChatParams, deployment: Deployment) -> ChatParams:
    if deployment.defaults is NO_PARAMS and deployment.caps is NO_PARAMS:
        return params
    return params.over(deployment.defaults).capped(deployment.caps)


def _unsupported_params(params: ChatParams, deployment: Deployment) -> frozenset[str]:
    known = deployment.card.params
    if known is None or params.model_fields_set <= known:
        return _NO_NAMES
    return frozenset(params.wire_fields().keys() - known)


def _foreign_extras(params: ChatParams, call: Call, deployment: Deployment) -> AbstractSet[str]:
    """Unknown parameters to drop: they pass through only to the dialect that they were sent in."""
    target_dialect, known = deployment.provider.dialect, deployment.card.params
    if (
        not params.extra
        or call.dialect in (None, target_dialect)
        or (target_dialect is None and known is None)
    ):
        return _NO_NAMES
    unknown_params = params.extra.keys() - deployment.defaults.extra.keys()
    return unknown_params if target_dialect else unknown_params - (known or frozenset())


def _refuse_if_strict(dropped: frozenset[str], policy: Policy) -> None:
    if policy.unsupported == "reject":
        names = ", ".join(sorted(dropped))
        raise Unsupported(f"this model does not support: {names}")
