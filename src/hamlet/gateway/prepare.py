"""The one place where options merge: defaults, request, caps; and what a deployment cannot take."""

from __future__ import annotations

from dataclasses import replace

from hamlet.config import Policy
from hamlet.core import ChatParams, ChatRequest, NativeRequest, Terms
from hamlet.core.errors import Unsupported
from hamlet.gateway.call import Call
from hamlet.registry.model import Deployment

_NO_PARAMS = ChatParams()


def speaks(deployment: Deployment, call: Call) -> bool:
    """Whether the call can take the fast lane to this deployment."""
    provider = deployment.provider
    same = call.dialect is not None and provider.dialect == call.dialect
    return same and "native" in provider.operations


def prepare_chat(
    call: Call, deployment: Deployment, policy: Policy
) -> tuple[ChatRequest, tuple[str, ...]]:
    """The request as the adapter gets it, and the names of the parameters left out."""
    final = _merged(call.params, deployment)
    dropped = _untaken(final, call, deployment)
    _refuse_if_strict(dropped, deployment, policy)
    if dropped:
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
    """The caller's own body with only what defaults, caps and the card change."""
    final = _merged(call.params, deployment)
    dropped = _untaken(final, call, deployment)
    _refuse_if_strict(dropped, deployment, policy)
    changed = {
        name: value
        for name, value in final.sent().items()
        if name not in dropped and getattr(call.params, name) != value
    }
    overrides = ChatParams.model_construct(**changed) if changed else _NO_PARAMS
    request = NativeRequest(
        deployment.model, call.fields, call.stream, overrides, dropped, _terms(policy)
    )
    return request, tuple(sorted(dropped))


def _terms(policy: Policy) -> Terms:
    return Terms(policy.byte_idle_s, policy.require_filter)


def _merged(params: ChatParams, deployment: Deployment) -> ChatParams:
    return params.over(deployment.defaults).capped(deployment.caps)


def _untaken(params: ChatParams, call: Call, deployment: Deployment) -> frozenset[str]:
    known = deployment.card.params
    sent = () if known is None else params.sent()
    portable = {name for name in sent if name not in (known or ())}
    return frozenset(portable | _foreign_extras(params, call, deployment))


def _foreign_extras(params: ChatParams, call: Call, deployment: Deployment) -> set[str]:
    """Unknown parameters pass through, but not into an API they were not written for."""
    theirs, known = deployment.provider.dialect, deployment.card.params
    if not params.extra or call.dialect in (None, theirs) or (theirs is None and known is None):
        return set()
    strangers = params.extra.keys() - deployment.defaults.extra.keys()
    return strangers if theirs else strangers - (known or frozenset())


def _refuse_if_strict(dropped: frozenset[str], deployment: Deployment, policy: Policy) -> None:
    if dropped and policy.unsupported == "reject":
        names = ", ".join(sorted(dropped))
        raise Unsupported(f"this model does not support: {names}")
