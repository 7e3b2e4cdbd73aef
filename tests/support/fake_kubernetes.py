"""A Kubernetes API server that records what Helm installs, upgrades and uninstalls.

It serves discovery for the kinds that a chart uses, stores objects as they are sent and returns them.
Nothing is admitted, defaulted, scheduled or run. It uses the standard library alone, since Helm's
process imports it.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KINDS = {
    "v1": ("ConfigMap", "Secret", "Service", "ServiceAccount", "Pod", "Namespace"),
    "apps/v1": ("Deployment",),
    "autoscaling/v2": ("HorizontalPodAutoscaler",),
    "policy/v1": ("PodDisruptionBudget",),
    "networking.k8s.io/v1": ("NetworkPolicy",),
    "monitoring.coreos.com/v1": ("PodMonitor", "PrometheusRule"),
    "external-secrets.io/v1": ("ExternalSecret",),
    "keda.sh/v1alpha1": ("ScaledObject",),
}


def plural(kind: str) -> str:
    return kind.lower().removesuffix("y") + ("ies" if kind.endswith("y") else "s")


def _resources(version: str) -> dict[str, Any]:
    rows = [
        {
            "name": plural(kind),
            "singularName": kind.lower(),
            "namespaced": kind != "Namespace",
            "kind": kind,
            "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
        }
        for kind in KINDS[version]
    ]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": version,
        "resources": rows,
    }


def _groups() -> dict[str, Any]:
    groups = []
    for version in KINDS:
        if "/" in version:
            at = {"groupVersion": version, "version": version.split("/")[1]}
            name = version.split("/")[0]
            groups.append({"name": name, "versions": [at], "preferredVersion": at})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def _status(code: int, reason: str) -> dict[str, Any]:
    return {
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code,
        "message": reason,
    }  # fmt: skip


def _merge_patch(current: Any, patch: Any) -> Any:
    """A JSON merge patch (RFC 7396): unlike a strategic merge, it replaces whole lists."""
    if not (isinstance(current, dict) and isinstance(patch, dict)):
        return patch
    unchanged = {key: value for key, value in current.items() if key not in patch}
    changed = {k: _merge_patch(current.get(k), v) for k, v in patch.items() if v is not None}
    return unchanged | changed


class FakeKubernetes:
    """Serves on `url` for the length of a `with` block; `objects` has what was sent, by path."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.content_types: dict[str, str] = {}
        recording = type("Recording", (_Handler,), {"cluster": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), recording)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "FakeKubernetes":
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def kubeconfig(self, namespace: str) -> str:
        # YAML over several lines: Helm's SDK reads a single line as a file name.
        return (
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n"
            f"clusters: [{{name: test, cluster: {{server: '{self.url}'}}}}]\n"
            "users: [{name: nobody, user: {}}]\n"
            "contexts: [{name: test, "
            f"context: {{cluster: test, user: nobody, namespace: '{namespace}'}}}}]\n"
        )

    def json_objects(self) -> list[dict[str, Any]]:
        """The objects that were sent as JSON: Helm's own records are protobuf."""
        return [
            json.loads(body)
            for path, body in self.objects.items()
            if "json" in self.content_types[path] and "sh.helm.release" not in path
        ]


class _Handler(BaseHTTPRequestHandler):
    cluster: FakeKubernetes
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        path, cluster = urlsplit(self.path).path, self.cluster
        if path == "/version":
            return self._send_json({"major": "1", "minor": "33", "gitVersion": "v1.33.0"})
        if path == "/api":
            return self._send_json({"kind": "APIVersions", "versions": ["v1"]})
        if path == "/apis":
            return self._send_json(_groups())
        version = path.removeprefix("/apis/") if path.startswith("/apis/") else path[5:]
        if version in KINDS:
            return self._send_json(_resources(version))
        if path in cluster.objects:
            return self._send(200, cluster.content_types[path], cluster.objects[path])
        if path.rsplit("/", 1)[-1] in {plural(k) for kinds in KINDS.values() for k in kinds}:
            return self._send_json(
                {
                    "kind": "List",
                    "apiVersion": "v1",
                    "metadata": {},
                    "items": self._list_objects(path),
                }
            )
        return self._send_json(_status(404, "NotFound"), 404)

    def _list_objects(self, path: str) -> list[Any]:
        wanted = parse_qs(urlsplit(self.path).query).get("labelSelector", [""])[0]
        pairs = dict(pair.split("=") for pair in wanted.split(",") if "=" in pair)
        found = [
            json.loads(body)
            for name, body in self.cluster.objects.items()
            if name.startswith(f"{path}/") and "json" in self.cluster.content_types[name]
        ]
        return [o for o in found if pairs.items() <= o["metadata"].get("labels", {}).items()]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        kind = self.headers.get("content-type", "application/json")
        path = urlsplit(self.path).path
        if "json" in kind:
            path += "/" + json.loads(body)["metadata"]["name"]
        else:
            path += f"/sh.helm.release.{len(self.cluster.objects)}"
        self.cluster.objects[path], self.cluster.content_types[path] = body, kind
        self._send(201, kind, body)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        kind = self.headers.get("content-type", "application/json")
        self._send(200, kind, body)

    def do_PATCH(self) -> None:
        patch = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
        path = urlsplit(self.path).path
        merged = _merge_patch(json.loads(self.cluster.objects[path]), patch)
        self.cluster.objects[path] = json.dumps(merged).encode()
        self._send(200, "application/json", self.cluster.objects[path])

    def _send_json(self, document: dict[str, Any], code: int = 200) -> None:
        self._send(code, "application/json", json.dumps(document).encode())

    def _send(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
