"""Responses that browsers and CDNs may cache (RFC 9110 section 8.8.3, RFC 5861)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from hamlet.api.http import Response

_PUBLIC = {
    "cache-control": "public, max-age=30, stale-while-revalidate=300, stale-if-error=86400",
    "vary": "accept-language, accept",
}


def conditional_response(
    response: Response, stable_content: bytes, headers: Mapping[str, str]
) -> Response:
    """The response with a weak ETag of `stable_content`; 304 if the client has that version."""
    tag = f'W/"{hashlib.blake2b(stable_content, digest_size=12).hexdigest()}"'
    cache_headers = {**response.headers, **_PUBLIC, "etag": tag}
    client_tags = {each.strip() for each in headers.get("if-none-match", "").split(",")}
    if tag in client_tags or "*" in client_tags:
        return Response(304, b"", cache_headers)
    return Response(response.status, response.body, cache_headers, response.media_type)
