"""Load tests: an open-loop engine, scenarios with assertions, reports, and a bench of peers."""
