"""Goals of routing, measured with the real gateway and the simulator: `python -m loadtest.scenarios.routing`."""
