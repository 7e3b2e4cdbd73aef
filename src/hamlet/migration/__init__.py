"""The migration from hamlet1 to hamlet: feature by feature, reversible at every step.

Detachable: only `app`, `cli`, `doctor` and `dashboards` import it, each just the module it needs.
This package imports none of its modules, so that checking a configuration does not load a proxy.
"""
