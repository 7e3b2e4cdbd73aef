"""Written by `python -m loadtest generate` from scenarios.toml; do not edit.

    SCENARIO=peak locust -f loadtest/tools/locustfile.py --headless --host http://127.0.0.1:8080

Locust's users are a closed loop: each waits for its response. So there are many users at a slow pace. If
responses take longer than USERS / rate, the rate of arrivals drops, which the engine's never does.
"""

import json
import os
import random

from locust import HttpUser, LoadTestShape, constant_throughput, events, task
from locust.env import Environment

PROFILES = json.loads(r"""{
  "smoke": {
    "steps": [
      {
        "rate": 2.0,
        "to": 2.0,
        "seconds": 20.0
      }
    ],
    "stream": 0.8,
    "failedShare": 0.0,
    "body": "{\"model\": \"model\", \"messages\": [{\"role\": \"user\", \"content\": \"Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please.\"}]}"
  },
  "ramp": {
    "steps": [
      {
        "rate": 1.0,
        "to": 12.5,
        "seconds": 300.0
      }
    ],
    "stream": 0.8,
    "failedShare": 0.001,
    "body": "{\"model\": \"model\", \"messages\": [{\"role\": \"user\", \"content\": \"Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please.\"}]}"
  },
  "peak": {
    "steps": [
      {
        "rate": 12.5,
        "to": 12.5,
        "seconds": 1200.0
      }
    ],
    "stream": 0.8,
    "failedShare": 0.001,
    "body": "{\"model\": \"model\", \"messages\": [{\"role\": \"user\", \"content\": \"Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please.\"}]}"
  },
  "spike": {
    "steps": [
      {
        "rate": 12.5,
        "to": 12.5,
        "seconds": 60.0
      },
      {
        "rate": 60.0,
        "to": 60.0,
        "seconds": 15.0
      },
      {
        "rate": 12.5,
        "to": 12.5,
        "seconds": 105.0
      }
    ],
    "stream": 0.8,
    "failedShare": null,
    "body": "{\"model\": \"model\", \"messages\": [{\"role\": \"user\", \"content\": \"Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please.\"}]}"
  },
  "headroom": {
    "steps": [
      {
        "rate": 50.0,
        "to": 50.0,
        "seconds": 10.0
      },
      {
        "rate": 100.0,
        "to": 100.0,
        "seconds": 10.0
      },
      {
        "rate": 200.0,
        "to": 200.0,
        "seconds": 10.0
      },
      {
        "rate": 300.0,
        "to": 300.0,
        "seconds": 10.0
      },
      {
        "rate": 375.0,
        "to": 375.0,
        "seconds": 10.0
      },
      {
        "rate": 469.0,
        "to": 469.0,
        "seconds": 10.0
      },
      {
        "rate": 586.0,
        "to": 586.0,
        "seconds": 10.0
      },
      {
        "rate": 732.0,
        "to": 732.0,
        "seconds": 10.0
      },
      {
        "rate": 916.0,
        "to": 916.0,
        "seconds": 10.0
      },
      {
        "rate": 1144.0,
        "to": 1144.0,
        "seconds": 10.0
      }
    ],
    "stream": 0.0,
    "failedShare": null,
    "body": "{\"model\": \"model\", \"messages\": [{\"role\": \"user\", \"content\": \"Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please.\"}]}"
  },
  "soak": {
    "steps": [
      {
        "rate": 12.5,
        "to": 12.5,
        "seconds": 14400.0
      }
    ],
    "stream": 0.8,
    "failedShare": 0.001,
    "body": "{\"model\": \"model\", \"messages\": [{\"role\": \"user\", \"content\": \"Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please.\"}]}"
  },
  "big": {
    "steps": [
      {
        "rate": 4.0,
        "to": 4.0,
        "seconds": 60.0
      }
    ],
    "stream": 0.8,
    "failedShare": 0.0,
    "body": "{\"model\": \"model\", \"messages\": [{\"role\": \"user\", \"content\": \"Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about t\"}]}"
  },
  "replay": {
    "steps": [
      {
        "rate": 12.5,
        "to": 12.5,
        "seconds": 1200.0
      }
    ],
    "stream": 0.8,
    "failedShare": 0.0,
    "body": "{\"model\": \"model\", \"messages\": [{\"role\": \"user\", \"content\": \"Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please. Tell me more about that, please.\"}]}"
  }
}""")
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
