"""Answers that browsers and CDNs may keep (RFC 9110 section 8.8.3, RFC 5861)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from hamlet.api.http import Response

_PUBLIC = {
    "cache-control": "public, max-age=30, stale-while-revalidate=300, stale-if-error=86400",
    "vary": "accept-language, accept",
}


def conditional(response: Response, lasting: bytes, headers: Mapping[str, str]) -> Response:
    """The response with a weak ETag over `lasting`; 304 if the caller has that already."""
    tag = f'W/"{hashlib.blake2b(lasting, digest_size=12).hexdigest()}"'
    kept = {**response.headers, **_PUBLIC, "etag": tag}
    known = {one.strip() for one in headers.get("if-none-match", "").split(",")}
    if tag in known or "*" in known:
        return Response(304, b"", kept)
    return Response(response.status, response.body, kept, response.media_type)
