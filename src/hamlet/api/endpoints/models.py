"""GET /v1/models: the routes a caller may use, in a format that both vendors' SDKs read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote

import orjson

from hamlet.api.auth import Keyring
from hamlet.api.dialects import OPENAI, dialect_of
from hamlet.api.dialects.base import error_response
from hamlet.api.http import Request, Response
from hamlet.core.errors import HamletError, RouteNotFound

_EPOCH = "1970-01-01T00:00:00Z"


class ModelsEndpoint:
    """Lists the routes, or describes one."""

    def __init__(
        self,
        names: Callable[[], Iterable[str]],
        keyring: Callable[[], Keyring],
    ) -> None:
        self._names = names
        self._keyring = keyring

    def render_error(self, error: HamletError, request_id: str) -> Response:
        """An error before the request's dialect is known."""
        return error_response(OPENAI, error, request_id)

    async def __call__(self, request: Request) -> Response:
        dialect = dialect_of(request.headers)
        try:
            caller = self._keyring().authenticate(request.headers)
            names = [name for name in self._names() if caller.can_use_route(name)]
            body = (
                _find_model(unquote(request.path_params["model"]), names)
                if request.path_params
                else _model_list(names)
            )
        except HamletError as error:
            return error_response(dialect, error, request.id)
        return Response(200, orjson.dumps(body), dialect.id_headers(request.id))


def _find_model(name: str, names: Iterable[str]) -> dict[str, Any]:
    if name not in names:
        raise RouteNotFound(f"the model {name!r} does not exist", param="model")
    return _model_object(name)


def _model_list(names: list[str]) -> dict[str, Any]:
    return {
        "object": "list",
        "data": [_model_object(name) for name in names],
        "has_more": False,
        "first_id": names[0] if names else None,
        "last_id": names[-1] if names else None,
    }


def _model_object(name: str) -> dict[str, Any]:
    openai = {"object": "model", "created": 0, "owned_by": "hamlet"}
    anthropic = {"type": "model", "display_name": name, "created_at": _EPOCH}
    return {"id": name, **openai, **anthropic}
