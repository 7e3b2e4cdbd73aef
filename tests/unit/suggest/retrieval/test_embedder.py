"""Where the engine of the embedder runs."""

from hamlet.suggest.retrieval.embedder import _has_avx2


def test_processor_without_avx2_is_detected(tmp_path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("flags : sse2 avx avx512f\n")
    assert not _has_avx2(cpuinfo)
    assert not _has_avx2(tmp_path / "none")
