// Written by `python -m loadtest generate` from scenarios.toml; do not edit.
import { simulation, scenario, exec, StringBody, constantUsersPerSec, rampUsersPerSec, global, percent, getParameter } from "@gatling.io/core";
import type { OpenInjectionStep } from "@gatling.io/core";
import { http, sse, status } from "@gatling.io/http";

interface Step { rate: number; to: number; seconds: number }
interface Profile { steps: Step[]; stream: number; failedShare: number | null; body: string }

const PROFILES: Record<string, Profile> = {
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
};

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
