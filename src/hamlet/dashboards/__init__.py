"""Dashboards, alerts and service levels as code, over the metrics of the catalogue."""
