"""The dashboard of processes, machines and the edge proxy."""

from __future__ import annotations

from hamlet.dashboards.model_calls import JOB, VARIABLES
from hamlet.dashboards.panels import Dashboard, PanelRow, Query, graph, stat
from hamlet.dashboards.promql import RATE_INTERVAL, metric_selector, quantile, rate

_LAG, _WAIT = "hamlet_event_loop_lag_seconds", "hamlet_queue_wait_seconds"
_NODE = 'device!~"lo|veth.*"'

INFRA = Dashboard(
    "hamlet-infra",
    "hamlet / infrastructure load",
    "Is hamlet itself short of a resource?",
    VARIABLES[:1],
    (
        PanelRow(
            "Processes",
            (
                graph(
                    "CPU",
                    "Cores used by each process. process_cpu_seconds_total",
                    "none",
                    Query(
                        f"rate(process_cpu_seconds_total{{{JOB}}}[{RATE_INTERVAL}])", "{{instance}}"
                    ),
                ),
                graph(
                    "Memory",
                    "Resident. process_resident_memory_bytes",
                    "bytes",
                    Query(f"process_resident_memory_bytes{{{JOB}}}", "{{instance}}"),
                ),
                graph(
                    "Loop lag",
                    "How late the event loop wakes up. " + _LAG,
                    "s",
                    Query(quantile(0.5, _LAG, JOB), "p50"),
                    Query(quantile(0.99, _LAG, JOB), "p99"),
                ),
                graph(
                    "In flight",
                    "Calls in flight and their limit. hamlet_calls_in_flight",
                    "none",
                    Query(f"sum({metric_selector('hamlet_calls_in_flight', JOB)})", "in flight"),
                    Query(f"sum({metric_selector('hamlet_calls_limit', JOB)})", "limit"),
                ),
                graph(
                    "Queued calls",
                    "Calls waiting for admission. hamlet_queue_depth",
                    "none",
                    Query(f"sum({metric_selector('hamlet_queue_depth', JOB)})", "waiting"),
                ),
                graph(
                    "Queue wait p95",
                    "Admitted calls. " + _WAIT,
                    "s",
                    Query(quantile(0.95, _WAIT, JOB), "p95"),
                ),
                graph(
                    "Connections to vendors",
                    "Busy, idle and opening connections. hamlet_http_pool_connections",
                    "none",
                    Query(
                        f"sum by (state) ({metric_selector('hamlet_http_pool_connections', JOB)})",
                        "{{state}}",
                    ),
                    stack=True,
                ),
                graph(
                    "Requests waiting for a connection",
                    "Mean number of waiting requests. hamlet_http_pool_wait_seconds_total",
                    "none",
                    Query(
                        rate("hamlet_http_pool_wait_seconds_total", JOB, by="provider"),
                        "{{provider}}",
                    ),
                ),
                graph(
                    "Open files",
                    "Share of the allowed descriptors. process_open_fds",
                    "percentunit",
                    Query(f"process_open_fds{{{JOB}}} / process_max_fds{{{JOB}}}", "{{instance}}"),
                ),
                graph(
                    "Garbage collections",
                    "Per second, by generation. python_gc_collections_total",
                    "none",
                    Query(
                        "sum by (generation) "
                        f"(rate(python_gc_collections_total{{{JOB}}}[{RATE_INTERVAL}]))",
                        "generation {{generation}}",
                    ),
                    size=(12, 8),
                ),
                graph(
                    "Answers by status",
                    "HTTP responses per second. hamlet_http_responses_total",
                    "reqps",
                    Query(rate("hamlet_http_responses_total", JOB, by="code"), "{{code}}"),
                    stack=True,
                    size=(12, 8),
                ),
            ),
        ),
        PanelRow(
            "Health",
            (
                stat(
                    "Ready",
                    "Processes that report ready. hamlet_ready",
                    "none",
                    f"sum({metric_selector('hamlet_ready', JOB)})",
                    size=(4, 4),
                ),
                stat(
                    "Overload level",
                    "0 to 3; more load is shed at higher levels. hamlet_distress_level",
                    "none",
                    f"max({metric_selector('hamlet_distress_level', JOB)})",
                    warn=1,
                    bad=2,
                    size=(4, 4),
                ),
                stat(
                    "Series",
                    "Time series of the largest process. hamlet_series",
                    "none",
                    f"max({metric_selector('hamlet_series', JOB)})",
                    size=(4, 4),
                ),
                stat(
                    "Scrape",
                    "Time to render the exposition. hamlet_render_seconds",
                    "s",
                    f"max({metric_selector('hamlet_render_seconds', JOB)})",
                    size=(4, 4),
                ),
                stat(
                    "Observer errors",
                    "In the last hour. hamlet_telemetry_errors_total",
                    "none",
                    f"sum(increase({metric_selector('hamlet_telemetry_errors_total', JOB)}[1h]))",
                    warn=1,
                    bad=1,
                    size=(4, 4),
                    decimals=0,
                ),
                stat(
                    "Last reload",
                    "1 unless it was refused. hamlet_config_last_reload_ok",
                    "none",
                    f"min({metric_selector('hamlet_config_last_reload_ok', JOB)})",
                    mappings=((0.0, "refused", "red"), (1.0, "ok", "green")),
                    size=(4, 4),
                ),
            ),
        ),
        PanelRow(
            "Machines",
            (
                graph(
                    "Node CPU",
                    "Busy share. node_cpu_seconds_total",
                    "percentunit",
                    Query(
                        "1 - avg by (instance) "
                        f'(rate(node_cpu_seconds_total{{mode="idle"}}[{RATE_INTERVAL}]))',
                        "{{instance}}",
                    ),
                    size=(6, 8),
                ),
                graph(
                    "Node memory",
                    "Used share. node_memory_MemAvailable_bytes",
                    "percentunit",
                    Query(
                        "1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes",
                        "{{instance}}",
                    ),
                    size=(6, 8),
                ),
                graph(
                    "Node network",
                    "Received and sent. node_network_receive_bytes_total",
                    "Bps",
                    Query(
                        f"sum(rate(node_network_receive_bytes_total{{{_NODE}}}[{RATE_INTERVAL}]))",
                        "received",
                    ),
                    Query(
                        f"sum(rate(node_network_transmit_bytes_total{{{_NODE}}}[{RATE_INTERVAL}]))",
                        "sent",
                    ),
                    size=(6, 8),
                ),
                graph(
                    "Node disk",
                    "Used share of /. node_filesystem_avail_bytes",
                    "percentunit",
                    Query(
                        '1 - node_filesystem_avail_bytes{mountpoint="/"} '
                        '/ node_filesystem_size_bytes{mountpoint="/"}',
                        "{{instance}}",
                    ),
                    size=(6, 8),
                ),
            ),
        ),
        PanelRow(
            "Edge",
            (
                graph(
                    "Edge requests",
                    "Envoy requests per second, by cluster. envoy_cluster_upstream_rq_total",
                    "reqps",
                    Query(
                        f"sum by (envoy_cluster_name) (rate(envoy_cluster_upstream_rq_total"
                        f"[{RATE_INTERVAL}]))",
                        "{{envoy_cluster_name}}",
                    ),
                ),
                graph(
                    "Edge retries and 5xx",
                    "Envoy retries and 5xx responses per second. envoy_cluster_upstream_rq_retry",
                    "reqps",
                    Query(
                        f"sum(rate(envoy_cluster_upstream_rq_retry[{RATE_INTERVAL}]))", "retries"
                    ),
                    Query(
                        "sum(rate(envoy_cluster_upstream_rq_xx"
                        f'{{envoy_response_code_class="5"}}[{RATE_INTERVAL}]))',
                        "5xx",
                    ),
                ),
                graph(
                    "Edge hosts",
                    "Healthy hosts by cluster. envoy_cluster_membership_healthy",
                    "none",
                    Query(
                        "max by (envoy_cluster_name) (envoy_cluster_membership_healthy)",
                        "{{envoy_cluster_name}}",
                    ),
                ),
            ),
        ),
    ),
)
