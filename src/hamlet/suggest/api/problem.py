"""Errors of the main screen, as RFC 9457 problem documents."""

from __future__ import annotations

from typing import Any, NotRequired

import orjson
from pydantic import ConfigDict, ValidationError, with_config
from typing_extensions import TypedDict

from hamlet.api.errors import error_headers
from hamlet.api.http import Response
from hamlet.core.errors import HamletError, RequestError
from hamlet.core.text import Language

_SLUGS = {
    400: "invalid-json",
    401: "unauthorised",
    403: "forbidden-origin",
    404: "not-found",
    413: "too-large",
    422: "validation",
    429: "rate-limited",
    503: "not-ready",
}
# In English the error's own message is used, which is more specific.
_DETAILS: dict[str, dict[str, str]] = {
    "ko": {
        "invalid-json": "요청 본문을 읽을 수 없습니다",
        "unauthorised": "올바른 API 키가 필요합니다",
        "forbidden-origin": "이 키로는 여기에서 호출할 수 없습니다",
        "not-found": "찾을 수 없습니다",
        "too-large": "요청 본문이 너무 큽니다",
        "validation": "요청에 잘못된 항목이 있습니다",
        "rate-limited": "요청이 너무 많습니다. 잠시 뒤에 다시 시도하세요",
        "not-ready": "지금은 처리할 수 없습니다. 잠시 뒤에 다시 시도하세요",
        "fallback-disallowed": "허용된 방법으로는 제때 답을 만들지 못했습니다",
    },
    "ja": {
        "invalid-json": "リクエスト本文を読み取れません",
        "unauthorised": "有効なAPIキーが必要です",
        "forbidden-origin": "このキーではここから呼び出せません",
        "not-found": "見つかりません",
        "too-large": "リクエスト本文が大きすぎます",
        "validation": "リクエストに誤った項目があります",
        "rate-limited": "リクエストが多すぎます。しばらくして再試行してください",
        "not-ready": "今は処理できません。しばらくして再試行してください",
        "fallback-disallowed": "許可された方法では時間内に答えを作れませんでした",
    },
}


class FallbackDisallowed(RequestError):
    """No tier that the request allows had a result, and `allow.embedded` is false."""

    status = 503
    code = "fallback_disallowed"


class DeadlineDisallowed(FallbackDisallowed):
    """The same, since the budget ended before a result arrived."""

    status = 504


# The title is the name of the schema in the OpenAPI document.
@with_config(ConfigDict(title="Fault"))
class FieldError(TypedDict):
    """An invalid field: a JSON Pointer (RFC 6901), a code, and what is wrong."""

    pointer: str
    code: str
    detail: str


class Problem(TypedDict):
    """A problem document: https://www.rfc-editor.org/rfc/rfc9457"""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    errors: NotRequired[list[FieldError]]


def problem_response(error: HamletError, request_id: str, lang: Language = "en") -> Response:
    """The response for one of hamlet's errors."""
    is_disallowed = isinstance(error, FallbackDisallowed)
    slug = "fallback-disallowed" if is_disallowed else _SLUGS.get(error.status, "internal")
    body = _document(slug, error.status, error.message, request_id, lang)
    return _response(body, error_headers(error))


def validation_problem(error: ValidationError, request_id: str, lang: Language = "en") -> Response:
    """422 with a pointer to each invalid field."""
    body = _document("validation", 422, "the request has invalid fields", request_id, lang)
    body["errors"] = [
        {"pointer": "/" + "/".join(map(str, e["loc"])), "code": e["type"], "detail": e["msg"]}
        for e in error.errors(include_input=False, include_url=False, include_context=False)
    ]
    return _response(body, {})


def _document(slug: str, status: int, detail: str, request_id: str, lang: Language) -> Problem:
    return {
        "type": f"/problems/{slug}",
        "title": slug.replace("-", " "),
        "status": status,
        "detail": _DETAILS.get(lang, {}).get(slug, detail),
        "request_id": request_id,
    }


def _response(body: Problem, headers: dict[str, Any]) -> Response:
    all_headers = {"cache-control": "no-store"} | headers | {"x-request-id": body["request_id"]}
    return Response(body["status"], orjson.dumps(body), all_headers, "application/problem+json")
