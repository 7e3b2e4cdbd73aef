"""Cohorts: sticky, growing only, and independent per feature."""

from hypothesis import given
from hypothesis import strategies as st

from hamlet.migration.cohort import Cohort, CohortKeyExtractor
from hamlet.migration.rollout_document import FULL_SHARE_BP


@given(st.text(), st.integers(0, FULL_SHARE_BP), st.integers(0, FULL_SHARE_BP))
def test_a_growing_share_only_adds_users(key, share_bp, other_share_bp) -> None:
    low, high = sorted((share_bp, other_share_bp))
    bucket = Cohort("salt", "chat").bucket(key)
    assert 0 <= bucket < FULL_SHARE_BP
    assert (bucket < low) <= (bucket < high)


def test_cohorts_have_their_share_and_differ_by_feature() -> None:
    buckets = [Cohort("s", "chat").bucket(f"u{i}") for i in range(20_000)]
    for share_bp in (100, 500, 2000, 5000):
        ratio = sum(bucket < share_bp for bucket in buckets) / 20_000
        share = share_bp / FULL_SHARE_BP
        assert abs(ratio - share) < 4 * (share / 20_000) ** 0.5
    other = [Cohort("s", "chips").bucket(f"u{i}") for i in range(1000)]
    assert other != buckets[:1000]


def test_key_is_first_name_present() -> None:
    extractor = CohortKeyExtractor(("conversationId", "header:X-User"))
    headers = [(b"x-user", b"u1"), (b"authorization", b"Bearer k")]
    assert extractor.extract(headers, b'{"conversationId": "c1"}') == "c1"
    assert extractor.extract(headers, b'{"conversationId": 7}') == "7"
    assert extractor.extract(headers, b'{"conversationId": null}') == "u1"
    assert extractor.extract(headers[1:], b"no json") == "Bearer k"
    assert extractor.extract([], b'{"conversationId": ["c"]}') is None
