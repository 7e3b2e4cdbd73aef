"""Sampling and length parameters, portable over vendors."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hamlet.core.deprecation import warn_renamed

ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]


class ChatParams(BaseModel):
    """Optional, portable parameters of a chat call.

    Whether a field was *set* matters, not whether it is null: an explicit null means "send
    nothing", an empty tuple is a value. `extra` holds vendor fields, which are sent verbatim.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tokens: int | None = Field(default=None, ge=1)
    temperature: FiniteFloat | None = None
    top_p: FiniteFloat | None = None
    top_k: int | None = None  # candidate tokens per position
    stop: tuple[str, ...] | None = None
    seed: int | None = None
    presence_penalty: FiniteFloat | None = None
    frequency_penalty: FiniteFloat | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    n: int | None = Field(default=None, ge=1)  # choices in the response
    parallel_tool_calls: bool | None = None
    reasoning_effort: ReasoningEffort | None = None
    reasoning_tokens: int | None = Field(default=None, ge=0)
    verbosity: Literal["low", "medium", "high"] | None = None  # how long and detailed the text is
    user: str | None = None
    extra: dict[str, Any] = Field(default_factory=dict)

    def over(self, base: ChatParams) -> ChatParams:
        """These parameters over those of `base`, field by field."""
        if not base.model_fields_set:
            return self
        if not self.model_fields_set:
            return base
        fields = _explicit_fields(base) | _explicit_fields(self)
        if base.extra and self.extra:
            fields["extra"] = base.extra | self.extra
        return ChatParams.model_construct(_fields_set=set(fields), **fields)

    def capped(self, caps: ChatParams) -> ChatParams:
        """These parameters with every numeric field capped by the one set in `caps`."""
        if not caps.model_fields_set:
            return self
        lowered = {
            name: cap
            for name, cap in _explicit_fields(caps).items()
            if isinstance(cap, (int, float)) and _exceeds_cap(name, getattr(self, name), cap)
        }
        if not lowered:
            return self
        fields = _explicit_fields(self) | lowered
        return ChatParams.model_construct(_fields_set=set(fields), **fields)

    def without(self, names: frozenset[str]) -> ChatParams:
        """These parameters without the named fields."""
        fields = {
            name: value for name, value in _explicit_fields(self).items() if name not in names
        }
        return ChatParams.model_construct(_fields_set=set(fields), **fields)

    def wire_fields(self) -> dict[str, Any]:
        """The portable fields to put on the wire: set and not null, `extra` left out."""
        if not self.model_fields_set:
            return {}
        return {
            name: value
            for name, value in _explicit_fields(self).items()
            if name != "extra" and value is not None
        }

    def sent(self) -> dict[str, Any]:
        """The name of `wire_fields` in the release before."""
        warn_renamed("ChatParams.sent", "wire_fields")
        return self.wire_fields()


NO_PARAMS = ChatParams()
"""No parameter is set. Code on the path of every call compares by identity."""


def _explicit_fields(params: ChatParams) -> dict[str, Any]:
    return {name: getattr(params, name) for name in params.model_fields_set}


def _exceeds_cap(name: str, value: float | None, cap: float) -> bool:
    # An unset max_tokens means no limit, so the cap becomes the value.
    return name == "max_tokens" if value is None else value > cap
