"""How a reply without success becomes an error."""

import pytest

from hamlet.core import errors
from hamlet.spi import (
    ProviderSettings,
    raise_for_upstream,
    retry_after,
    upstream_error,
)
from hamlet.testing import Canned


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "0"}, 0.05),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "999999999"}, 900),
        ({"retry-after-ms": "x", "retry-after": "2"}, 2),
        ({"retry-after": "Tue, 24 Nov 2026 12:00:07 GMT"}, None),
    ],
)
def test_retry_after_parsing(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        (418, {}, errors.InvalidRequest),
        (599, {}, errors.UpstreamUnavailable),
        (302, {}, errors.UpstreamProtocol),
        (429, {"retry-after": "86400"}, errors.QuotaExhausted),
        (402, {}, errors.QuotaExhausted),
    ],
)
def test_error_class_by_status(status: int, headers: dict[str, str], kind: type) -> None:
    assert type(upstream_error(status, {}, headers)) is kind


def test_only_request_errors_carry_the_vendors_message() -> None:
    body = {"error": {"message": "field x is wrong"}}
    assert upstream_error(400, body).message == "field x is wrong"
    assert upstream_error(400, {"message": "flat"}).message == "flat"
    assert "field x" not in upstream_error(401, body).message


async def test_error_page_is_classified_by_status(upstream, host) -> None:
    upstream.reply(Canned(503, pieces=[b"<html>busy</html>"]))
    http = host.http(ProviderSettings(base_url=upstream.url))
    async with http.stream("GET", "/") as reply:
        with pytest.raises(errors.Overloaded):
            await raise_for_upstream(reply)
