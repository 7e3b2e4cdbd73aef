"""Helm, run by a Python that its SDK has wheels for: jobs as JSON on stdin, results on stdout.

A job is {"name", "namespace", "chart", "values", "there"}; `there` are ConfigMaps that the cluster
already has, by name. A result has the manifest and the recorded objects, or Helm's error.
"""

import asyncio
import json
import sys
from typing import Any

import helm_sdkpy
from fake_kubernetes import FakeKubernetes


async def run_job(job: dict[str, Any]) -> dict[str, Any]:
    with FakeKubernetes() as cluster:
        namespace = job["namespace"]
        for name, data in job.get("there", {}).items():
            path = f"/api/v1/namespaces/{namespace}/configmaps/{name}"
            there = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {
                    "name": name,
                    "namespace": namespace,
                    "labels": {"app.kubernetes.io/managed-by": "Helm"},
                    "annotations": {
                        "meta.helm.sh/release-name": job["name"],
                        "meta.helm.sh/release-namespace": namespace,
                    },
                },
                "data": data,
            }
            cluster.objects[path] = json.dumps(there).encode()
            cluster.content_types[path] = "application/json"
        config = helm_sdkpy.Configuration(namespace, cluster.kubeconfig(namespace))
        install = helm_sdkpy.Install(config)
        try:
            release = await install.run(job["name"], job["chart"], job["values"], wait=False)
        except helm_sdkpy.HelmError as error:
            return {"error": str(error)}
        notes = release["info"]["notes"]
        return {"manifest": release["manifest"], "notes": notes, "recorded": cluster.json_objects()}


async def main() -> None:
    jobs = json.load(sys.stdin)
    results = [await run_job(job) for job in jobs["install"]]
    linted: list[Any] = []
    with FakeKubernetes() as cluster:
        config = helm_sdkpy.Configuration("default", cluster.kubeconfig("default"))
        for chart in jobs.get("lint", ()):
            linted.append(await helm_sdkpy.Lint(config).run(chart))
    json.dump({"install": results, "lint": linted}, sys.stdout)


asyncio.run(main())
