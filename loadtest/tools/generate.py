"""Write the scenarios of scenarios.toml for Gatling and Locust; a test checks that the files are current.

Both have users, reports and clocks of their own; they share the arrivals (full size), the share of streams,
the prompt and the bound on failures.
"""

from __future__ import annotations

import json
from pathlib import Path

from loadtest.engine.scenario import Scenario, load_scenarios

HERE = Path(__file__).parent
GATLING_FILE = HERE / "gatling/src/hamlet.gatling.ts"
LOCUST_FILE = HERE / "locustfile.py"
_GENERATED_NOTE = "Written by `python -m loadtest generate` from scenarios.toml; do not edit."

_GATLING_TEMPLATE = """// %(note)s
import { simulation, scenario, exec, StringBody, constantUsersPerSec, rampUsersPerSec, global, percent, getParameter } from "@gatling.io/core";
import type { OpenInjectionStep } from "@gatling.io/core";
import { http, sse, status } from "@gatling.io/http";

interface Step { rate: number; to: number; seconds: number }
interface Profile { steps: Step[]; stream: number; failedShare: number | null; body: string }

const PROFILES: Record<string, Profile> = %(profiles)s;

export default simulation((setUp) => {
  const name = getParameter("scenario", "peak");
  const profile = PROFILES[name];
  if (profile === undefined) throw new Error(`no such scenario: ${name}`);
  const protocol = http
    .baseUrl(getParameter("target", "http://127.0.0.1:8080"))
    .header("authorization", `Bearer ${getParameter("key", "sk-bench-1234567890")}`)
    .header("content-type", "application/json");
  const plain = exec(
    http("chat").post("/v1/chat/completions").body(StringBody(profile.body)).check(status().is(200)),
  );
  const streamed = exec(
    sse("chat stream").post("/v1/chat/completions")
      .body(StringBody(profile.body.replace(/}$/, ', "stream": true}'))),
    sse("close").close(),
  );
  const users = scenario(name).randomSwitch().on(
    percent(100 * profile.stream).then(streamed),
    percent(100 * (1 - profile.stream)).then(plain),
  );
  const steps: OpenInjectionStep[] = profile.steps.map((step) =>
    step.rate === step.to
      ? constantUsersPerSec(step.rate).during({ amount: step.seconds, unit: "seconds" }).randomized()
      : rampUsersPerSec(step.rate).to(step.to).during({ amount: step.seconds, unit: "seconds" }).randomized(),
  );
  const assertions = profile.failedShare === null
    ? []
    : [global().failedRequests().percent().lte(100 * profile.failedShare)];
  setUp(users.injectOpen(...steps)).protocols(protocol).assertions(...assertions);
});
"""

_LOCUST_TEMPLATE = '''"""%(note)s

    SCENARIO=peak locust -f loadtest/tools/locustfile.py --headless --host http://127.0.0.1:8080

Locust's users are a closed loop: each waits for its response. So there are many users at a slow pace. If
responses take longer than USERS / rate, the rate of arrivals drops, which the engine's never does.
"""

import json
import os
import random

from locust import HttpUser, LoadTestShape, constant_throughput, events, task
from locust.env import Environment

PROFILES = json.loads(r"""%(profiles)s""")
PROFILE = PROFILES[os.environ.get("SCENARIO", "peak")]
KEY = os.environ.get("KEY", "sk-bench-1234567890")
PER_USER = 0.05


class Caller(HttpUser):
    """One of many users, each with a request every twenty seconds."""

    wait_time = constant_throughput(PER_USER)

    @task
    def chat(self) -> None:
        body = json.loads(PROFILE["body"])
        stream = random.random() < PROFILE["stream"]
        headers = {"authorization": f"Bearer {KEY}"}
        with self.client.post(
            "/v1/chat/completions",
            json=body | ({"stream": True} if stream else {}),
            headers=headers,
            stream=stream,
            catch_response=True,
        ) as response:
            text = response.text
            if response.status_code != 200 or (stream and "[DONE]" not in text):
                response.failure(f"status {response.status_code}, or no end")


class Steps(LoadTestShape):
    """The number of users for the rate of each step."""

    def tick(self) -> tuple[int, float] | None:
        left = self.get_run_time()
        for step in PROFILE["steps"]:
            if left < step["seconds"]:
                share = left / step["seconds"]
                rate = step["rate"] + (step["to"] - step["rate"]) * share
                return max(1, round(rate / PER_USER)), 100.0
            left -= step["seconds"]
        return None


@events.quitting.add_listener
def _set_exit_code(environment: Environment, **_: object) -> None:
    bound = PROFILE["failedShare"]
    if bound is not None and environment.stats.total.fail_ratio > bound:
        environment.process_exit_code = 1
'''


def build_profile(scenario: Scenario) -> dict[str, object]:
    """The profile of a scenario for both tools; a trace becomes its mean rate."""
    steps = []
    for step in scenario.full:
        rate = step.rate or 12.5
        steps.append({"rate": rate, "to": step.to or rate, "seconds": step.length_s})
    bounds = [c.at_most for c in scenario.checks if c.figure == "failed_share"]
    # The engine asks for a response length by a marker that only the simulated vendors know.
    content = "Tell me more about that, please. " * max(1, scenario.prompt_bytes // 33)
    body = {"model": "model", "messages": [{"role": "user", "content": content[:2000].strip()}]}
    return {
        "steps": steps,
        "stream": scenario.stream,
        "failedShare": bounds[0] if bounds else None,
        "body": json.dumps(body),
    }


def render_files() -> dict[Path, str]:
    """The text of each generated file."""
    # Faults are injected into the simulated vendors, which neither tool can do.
    profiles_by_name = {
        n: build_profile(s) for n, s in load_scenarios().items() if not s.faults and not s.leave
    }
    profiles = json.dumps(profiles_by_name, indent=2)
    return {
        GATLING_FILE: _GATLING_TEMPLATE % {"note": _GENERATED_NOTE, "profiles": profiles},
        LOCUST_FILE: _LOCUST_TEMPLATE % {"note": _GENERATED_NOTE, "profiles": profiles},
    }


def write_files() -> None:
    """Write both files."""
    for file, text in render_files().items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
