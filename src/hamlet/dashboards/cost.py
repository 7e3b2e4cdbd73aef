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
    "What do the tokens cost, and who spends them?",
    VARIABLES,
    (
        PanelRow(
            "Now",
            (
                stat(
                    "Spend an hour",
                    "Estimated by the cards' prices. " + _COST,
                    "currencyUSD",
                    f"3600 * {rate(_COST, *ROUTE_SELECTORS)}",
                    size=(6, 4),
                    decimals=2,
                ),
                stat(
                    "Tokens a minute",
                    "Read and written. " + _TOKENS,
                    "none",
                    "60 * " + rate(_TOKENS, JOB, 'token_type=~"input|output"'),
                    size=(6, 4),
                    decimals=0,
                ),
                stat(
                    "Cached part",
                    "Of the input tokens. " + _TOKENS,
                    "percentunit",
                    ratio(rate(_TOKENS, JOB, 'token_type="cached_input"'), _input_token_rate),
                    size=(6, 4),
                ),
                stat(
                    "Cost of a call",
                    "Mean of the last minutes. " + _COST,
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
                    "Spend an hour by route",
                    "Estimated. " + _COST,
                    "currencyUSD",
                    Query(f"3600 * {rate(_COST, *ROUTE_SELECTORS, by='route')}", "{{route}}"),
                    stack=True,
                    size=(12, 8),
                ),
                graph(
                    "Spend an hour by deployment",
                    "The ten largest. " + _COST,
                    "currencyUSD",
                    Query(
                        f"topk(10, 3600 * {rate(_COST, *ROUTE_SELECTORS, by='deployment')})",
                        "{{deployment}}",
                    ),
                    size=(12, 8),
                ),
                graph(
                    "Tokens a minute by type",
                    "As billed. " + _TOKENS,
                    "none",
                    Query(f"60 * {rate(_TOKENS, JOB, by='token_type')}", "{{token_type}}"),
                ),
                graph(
                    "Tokens of an answer, mean",
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
                    "Tokens of a prompt, p95",
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
            "Where it goes",
            (
                bars(
                    "Spend of a day by deployment",
                    "At the last hour's pace. " + _COST,
                    "currencyUSD",
                    Query(
                        f"topk(10, 24 * sum by (deployment) (increase({metric_selector(_COST, *ROUTE_SELECTORS)}[1h])))",
                        "{{deployment}}",
                    ),
                    size=(12, 9),
                    decimals=2,
                ),
                table(
                    "Tokens of the last hour",
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
