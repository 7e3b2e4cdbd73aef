"""deploy/compose/hamlet.yaml: the 27 PTU example with the service `simulator` as its vendors.

`python -m loadtest.tools.compose` writes it.
"""

from __future__ import annotations

import yaml

from hamlet.simulator.configuration import redirect_providers
from loadtest import ROOT

COMPOSE = ROOT / "deploy/compose"
_SOURCE_CONFIG = ROOT / "deploy/fleets/azure-27-ptu.yaml"
_HEAD = (
    "# Made by `make rendered` of deploy/fleets/azure-27-ptu.yaml, with the vendors simulated.\n"
)


def render_config() -> str:
    """The text of the file."""
    data = redirect_providers(yaml.safe_load(_SOURCE_CONFIG.read_text()), "http://simulator:8900")
    data["fleet"]["redis"] = "env:REDIS_URL"
    data["server"] = {"host": "0.0.0.0", "port": 8080}  # noqa: S104
    data["telemetry"] = {"admin_host": "0.0.0.0", "admin_port": 9090}  # noqa: S104
    return _HEAD + yaml.safe_dump(data, sort_keys=False, width=120)


def main() -> None:
    """Write the file."""
    (COMPOSE / "hamlet.yaml").write_text(render_config(), "utf-8")


if __name__ == "__main__":
    main()
