"""nginx's configuration. Open-source nginx detects an unhealthy hamlet by failed requests alone."""

from __future__ import annotations

from hamlet.config.cutover import CutoverConfig
from hamlet.migration.rollout_document import RolloutDocument

_TEMPLATE = """\
# Written by `hamlet cutover export --format nginx`, epoch {epoch}; include it in `http {{}}`.
upstream hamlet1 {{
    server {hamlet1};
    keepalive 64;
}}
upstream hamlet2 {{
{servers}
    server {hamlet1} backup;
    keepalive 64;
}}
server {{
    listen {listen};
    client_max_body_size 20m;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_buffering off;
    proxy_connect_timeout 1s;
    proxy_read_timeout 130s;
    # Another server may be tried until the first byte of a response; hamlet never retries later.
    proxy_next_upstream error timeout http_503 non_idempotent;
    proxy_next_upstream_tries 3;
"""


def render_nginx(config: CutoverConfig, document: RolloutDocument) -> str:
    """An include file with two upstreams and a server."""
    servers = "\n".join(
        f"    server {address} max_fails=1 fail_timeout=1s;" for address in config.edge.hamlet2
    )
    listen = config.edge.listen.removeprefix("0.0.0.0:")
    lines = [
        _TEMPLATE.format(
            epoch=document.epoch, hamlet1=config.edge.hamlet1, servers=servers, listen=listen
        )
    ]
    for name, feature in config.features.items():
        upstream = "hamlet2" if document.feature_state(name).adopted else "hamlet1"
        for path in feature.paths:
            match = path[:-1] if path.endswith("*") else f"= {path}"
            lines.append(f"    location {match} {{ proxy_pass http://{upstream}; }}  # {name}\n")
    lines.append("    location / { proxy_pass http://hamlet1; }\n}\n")
    return "".join(lines)
