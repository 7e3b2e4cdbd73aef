"""Secrets by reference."""

from pathlib import Path

import pytest

from hamlet.config import ConfigError, load
from hamlet.registry import build_registry
from hamlet.testing.support import SilentLog


def test_secret_files_are_relative_to_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-from-file\n")
    (tmp_path / "empty").write_text("\n")
    rows = "\n".join(
        f"  {name}: {{kind: openai, api_key: 'file:{name}'}}" for name in ("key", "empty", "none")
    )
    file = tmp_path / "c.yaml"
    file.write_text(
        f"providers:\n{rows}\nroutes: {{r: {{deployments: [{{provider: key, model: m}}]}}}}"
    )
    with pytest.raises(ConfigError) as caught:
        build_registry(load(file), SilentLog())
    message = str(caught.value)
    assert "empty.api_key: the file empty is empty" in message
    assert "none.api_key: the file none cannot be read" in message
    assert "key.api_key: the" not in message
    assert "sk-from-file" not in message
