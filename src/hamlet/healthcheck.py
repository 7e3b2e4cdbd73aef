"""`python -m hamlet.healthcheck [URL]`: what a container's HEALTHCHECK runs, every few seconds.

It imports only the standard library: the imports of the other commands take 2 s of CPU.
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request

URL = "http://127.0.0.1:8080"


def healthcheck(url: str = URL, timeout_s: float = 3.0) -> tuple[bool, str]:
    """Whether the hamlet at `url` is live, and the detail to print. `timeout_s` is in seconds.

    Liveness only: a hamlet that drains is live, and so it is during a vendor's outage.
    """
    # The environment's proxy is for vendors, not for this host.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/livez", timeout=timeout_s) as response:
            return response.status == 200, f"{url}/livez: {response.status}"
    except urllib.error.HTTPError as error:
        with error:
            return False, f"{url}/livez: {error.code}"
    except (OSError, ValueError) as error:
        return False, f"{url}: no hamlet answers: {type(error).__name__}"


def main() -> int:
    """Exit status 0 if it is live, else 1."""
    alive, detail = healthcheck(sys.argv[1] if len(sys.argv) > 1 else URL)
    print(detail, file=sys.stdout if alive else sys.stderr)
    return 0 if alive else 1


if __name__ == "__main__":
    sys.exit(main())
