"""Bucket bounds of histograms, in seconds and tokens.

Durations double and tokens grow by powers of four, as OpenTelemetry's GenAI conventions advise:
https://github.com/open-telemetry/semantic-conventions-genai (docs/gen-ai/gen-ai-metrics.md).
Durations have one bound more, for long answers.
"""

from typing import Final

DURATION_SECONDS: Final = tuple(0.01 * 2**n for n in range(15))
TOKENS: Final = tuple(4.0**n for n in range(14))
TIME_PER_TOKEN_SECONDS: Final = (
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.15,
    0.2,
    0.3,
    0.4,
    0.5,
    0.75,
    1.0,
    2.5,
)
QUEUE_WAIT_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)
LOOP_LAG_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
