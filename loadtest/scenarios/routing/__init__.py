"""The fleet's goals, measured on the real gateway over the simulator: `python -m loadtest.scenarios.routing`."""
