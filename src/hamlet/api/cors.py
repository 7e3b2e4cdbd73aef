"""Cross-origin requests: which pages of other origins may call the API."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware

from hamlet.net.server.asgi import ASGI


def with_cors(app: ASGI, origins: Sequence[str]) -> ASGI:
    """The application behind a CORS middleware; the application itself if no origin is allowed."""
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("GET", "POST"),
        allow_headers=(
            "authorization",
            "content-type",
            "traceparent",
            "x-api-key",
            "x-request-budget-ms",
            "x-request-id",
        ),
        expose_headers=("x-request-id", "retry-after", "server-timing", "etag"),
    )
