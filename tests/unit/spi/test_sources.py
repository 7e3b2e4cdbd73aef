"""Settings and errors of link sources."""

from pydantic import SecretStr

from hamlet.spi.sources import SourceError, SourceSettings


def test_secret_in_clear_text() -> None:
    assert SourceSettings(api_key=SecretStr("k")).secret() == "k"
    assert SourceSettings().secret() == ""


def test_error_may_have_a_wait() -> None:
    assert SourceError("full", 5.0).retry_after_s == 5.0
    assert SourceError("down").retry_after_s is None
