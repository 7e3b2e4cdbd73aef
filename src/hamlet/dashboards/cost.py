"""The dashboard of cost."""

from __future__ import annotations

from hamlet.dashboards.model_calls import JOB, ROUTE_SELECTORS, VARIABLES
from hamlet.dashboards.panels import Dashboard, PanelRow, Query, bars, graph, stat, table
from hamlet.dashboards.promql import mean, metric_selector, quantile, rate, ratio

_REQUESTS = "hamlet_requests_total"
_TOKENS, _COST = "hamlet_tokens_total", "hamlet_cost_usd_total"
_input_token_rate = rate(_TOKENS, JOB, 'token_type="input"')

COST = Dashboard(
    "hamlet-cost",
    "hamlet / cost",
    "What do tokens cost, and where are they spent?",
    VARIABLES,
    (
        PanelRow(
            "Now",
            (
                stat(
                    "Spend per hour",
                    "Estimated from model card prices. " + _COST,
                    "currencyUSD",
                    f"3600 * {rate(_COST, *ROUTE_SELECTORS)}",
                    size=(6, 4),
                    decimals=2,
                ),
                stat(
                    "Tokens / min",
                    "Input and output. " + _TOKENS,
                    "none",
                    "60 * " + rate(_TOKENS, JOB, 'token_type=~"input|output"'),
                    size=(6, 4),
                    decimals=0,
                ),
                stat(
                    "Cached input",
                    "Share of input tokens read from the vendor's cache. " + _TOKENS,
                    "percentunit",
                    ratio(rate(_TOKENS, JOB, 'token_type="cached_input"'), _input_token_rate),
                    size=(6, 4),
                ),
                stat(
                    "Cost per call",
                    "Recent mean. " + _COST,
                    "currencyUSD",
                    ratio(
                        rate(_COST, *ROUTE_SELECTORS),
                        rate(_REQUESTS, *ROUTE_SELECTORS, 'outcome=~"ok|degraded"'),
                    ),
                    size=(6, 4),
                    decimals=5,
                ),
            ),
        ),
        PanelRow(
            "Over time",
            (
                graph(
                    "Spend per hour by route",
                    "Estimated. " + _COST,
                    "currencyUSD",
                    Query(f"3600 * {rate(_COST, *ROUTE_SELECTORS, by='route')}", "{{route}}"),
                    stack=True,
                    size=(12, 8),
                ),
                graph(
                    "Spend per hour by deployment",
                    "The ten largest. " + _COST,
                    "currencyUSD",
                    Query(
                        f"topk(10, 3600 * {rate(_COST, *ROUTE_SELECTORS, by='deployment')})",
                        "{{deployment}}",
                    ),
                    size=(12, 8),
                ),
                graph(
                    "Tokens per minute by type",
                    "As billed. " + _TOKENS,
                    "none",
                    Query(f"60 * {rate(_TOKENS, JOB, by='token_type')}", "{{token_type}}"),
                ),
                graph(
                    "Output tokens per answer, mean",
                    "Output. gen_ai_client_token_usage",
                    "none",
                    Query(
                        mean(
                            "gen_ai_client_token_usage",
                            JOB,
                            'token_type="output"',
                            by="provider, model",
                        ),
                        "{{provider}} {{model}}",
                    ),
                ),
                graph(
                    "Input tokens per call, p95",
                    "Input. gen_ai_client_token_usage",
                    "none",
                    Query(
                        quantile(
                            0.95,
                            "gen_ai_client_token_usage",
                            JOB,
                            'token_type="input"',
                            by="provider, model",
                        ),
                        "{{provider}} {{model}}",
                    ),
                ),
            ),
        ),
        PanelRow(
            "Breakdown",
            (
                bars(
                    "Projected daily spend by deployment",
                    "At the last hour's rate. " + _COST,
                    "currencyUSD",
                    Query(
                        "topk(10, 24 * sum by (deployment) "
                        f"(increase({metric_selector(_COST, *ROUTE_SELECTORS)}[1h])))",
                        "{{deployment}}",
                    ),
                    size=(12, 9),
                    decimals=2,
                ),
                table(
                    "Tokens in the last hour",
                    "By deployment and type. " + _TOKENS,
                    "none",
                    Query(
                        "topk(30, sum by (deployment, token_type) "
                        f"(increase({metric_selector(_TOKENS, JOB)}[1h])) > 0)"
                    ),
                    size=(12, 9),
                    decimals=0,
                ),
            ),
        ),
    ),
)
