"""The main screen in the OpenAPI document, from which clients are generated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import TypeAdapter

from hamlet.api.openapi import openapi_operation, schema_of
from hamlet.suggest import Suggestions
from hamlet.suggest.api.problem import Problem
from hamlet.suggest.api.request import SuggestBody

_PROBLEM = "application/problem+json"
_LINK = {
    "id": "ln_5f0c1d2e3a4b5c6d7e",
    "title": "서울교통공사",
    "url": "https://www.seoulmetro.co.kr/",
    "display_url": "seoulmetro.co.kr",
    "snippet": "서울 지하철 첫차와 막차, 노선과 요금",
    "source": {"name": "서울교통공사", "host": "seoulmetro.co.kr", "icon": None},
    "lang": "ko",
    "kind": "official",
    "score": 0.83,
    "position": 1,
    "why": {"code": "matched_terms", "terms": ["막차", "지하철"]},
    "published_at": None,
    "license": None,
    "token": "c2lnbmVkLWFuZC1vcGFxdWU",
}
_CHIP = {
    "id": "ch_1a2b3c4d5e6f708192",
    "text": "막차 놓쳤을 때",
    "prompt": "지하철 막차를 놓쳤을 때 집에 가는 방법을 알려줘",
    "action": "fill",
    "kind": "followup",
    "icon": "train",
    "lang": "ko",
    "position": 1,
    "grounding": ["ln_5f0c1d2e3a4b5c6d7e"],
    "token": "c2lnbmVkLWFuZC1vcGFxdWU",
}
EXAMPLE = {
    "id": "sg_0123456789abcdef0123",
    "created": "2026-11-25T09:00:00.000Z",
    "lang": "ko",
    "surface": "search",
    "links": {"status": "partial", "tier": "web", "items": [_LINK]},
    "chips": {"status": "partial", "tier": "embedded", "items": [_CHIP]},
    "timing": {"budget_ms": 800, "total_ms": 781.2, "links_ms": 2.1, "chips_ms": 779.1},
    "degraded": True,
    "degradations": [{"part": "chips", "origin": "llm", "to": "embedded", "reason": "deadline"}],
    "cache": {
        "links": {"status": "hit", "age_s": 41.0},
        "chips": {"status": "miss", "age_s": 0.0},
    },
    "warnings": [],
}
_STREAM_EXAMPLE = """retry: 2000

event: meta
data: {"id":"sg_0123456789abcdef0123","lang":"ko","surface":"search","budget_ms":4000}

event: chips
data: {"rev":0,"status":"ok","tier":"embedded","items":[]}

event: done
data: {"timing":{},"degraded":false,"degradations":[],"cache":{},"warnings":[]}

"""
_QUERY_PARAMETERS: dict[str, tuple[str, dict[str, Any]]] = {
    "lang": (
        "ko, en, ja, or auto: detected from the text, else from Accept-Language",
        {"default": "auto"},
    ),
    "tz": ("an IANA time zone, for suggestions that fit the hour", {"examples": ["Asia/Seoul"]}),
    "surface": ("where the suggestions are shown", {"enum": ["home", "search", "chat", "page"]}),
    "q": ("the query", {"maxLength": 200, "examples": ["서울 지하철 막차"]}),
    "limit": ("the number of items per section", {"minimum": 1, "maximum": 12}),
}


def describe_operation(
    summary: str, *, get: bool = False, q: bool = False
) -> Callable[[], Mapping[str, Any]]:
    """One operation: with a body, or with the parameters of `get`, or also those of a query `q`."""

    def build_details() -> dict[str, Any]:
        details: dict[str, Any] = {"responses": _responses()}
        if get or q:
            details["parameters"] = _parameters(with_text=q)
        else:
            schema = schema_of(TypeAdapter(SuggestBody))
            details["requestBody"] = {"required": True, "content": {"application/json": schema}}
        return details

    return openapi_operation(summary, "main screen", build_details)


def _responses() -> dict[str, Any]:
    schema = schema_of(TypeAdapter(Suggestions), "serialization")
    content = {
        "application/json": {**schema, "example": EXAMPLE},
        "text/event-stream": {"schema": {"type": "string"}, "example": _STREAM_EXAMPLE},
    }
    document = {_PROBLEM: schema_of(TypeAdapter(Problem))}
    problem_response = {"description": "The problem", "content": document}
    return {
        "200": {
            "description": "Suggestions; a section that was not requested is null",
            "content": content,
        },
        "4XX": problem_response,
        "5XX": problem_response,
    }


def _parameters(*, with_text: bool) -> list[dict[str, Any]]:
    names = ["lang", "tz", "surface"] + (["q", "limit"] if with_text else [])
    return [
        {
            "name": name,
            "in": "query",
            "description": _QUERY_PARAMETERS[name][0],
            "schema": {
                "type": "integer" if name == "limit" else "string",
                **_QUERY_PARAMETERS[name][1],
            },
        }
        for name in names
    ]
