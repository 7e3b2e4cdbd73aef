"""`hamlet fleet simulate`: what-ifs, the breakdown of a run, and its report."""

import math
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hamlet.cli import app
from hamlet.core import Price
from hamlet.dashboards.simulation_report import comparison_charts, comparison_table, write_report
from hamlet.reporting.html import inline_svg
from hamlet.simulator import Fault, SimulatedDeployment
from hamlet.simulator.arrival_traces import Arrival, write_trace
from hamlet.simulator.configuration import example_fleet
from hamlet.simulator.load_breakdown import DeploymentPricing, LoadBreakdown, TimeWindows
from hamlet.simulator.report import RequestOutcome, SimulationReport
from hamlet.simulator.simulation import Simulation, load_arrivals
from hamlet.simulator.what_if import parse_what_ifs

DEPLOYMENT_SPECS = [
    SimulatedDeployment("a", "m", region="eastus", zone="us"),
    SimulatedDeployment("b", "m", region="westus3", zone="us"),
    # A vendor's region may have the name of another's zone.
    SimulatedDeployment("c", "n", region="us"),
]
HOME_CONFIG = """
fleet: {home: koreacentral, redis: env:REDIS_THAT_IS_NOT_SET}
keys: [{name: k, secret: env:KEY_THAT_IS_NOT_SET}]
providers:
  near: {kind: openai, base_url: "https://near.example/v1", api_key: env:ALSO_NOT_SET, auth: api-key}
  paid: {kind: openai, base_url: "https://paid.example/v1", api_key: env:ALSO_NOT_SET, auth: api-key}
routes:
  chat:
    tiering: fleet
    deployments: &all
      - {provider: near, model: gpt-4o, region: koreacentral, ptu: 30}
      - {provider: paid, model: gpt-4o, region: koreacentral, tpm: 600000, rpm: 3600}
  chips: {tiering: fleet, criticality: sheddable, deployments: *all}
"""
FACT = re.compile(r"^(\S.*?) {2,}(.*?)(?: {2,}(.*))?$", re.MULTILINE)


def run_simulate(*args: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["fleet", "simulate", *args], env={"COLUMNS": "200"})
    return result.exit_code, result.output


def parse_facts(output: str) -> dict[str, tuple[str, str]]:
    return {name: (one.strip(), other.strip()) for name, one, other in FACT.findall(output)}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "hamlet.yaml"
    file.write_text(HOME_CONFIG)
    return file


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("region=eastus:down", Fault("refused", at=("a/m",))),
        ("zone=us:slow=10@60-240", Fault("slow", 60, 240, ("a/m", "b/m"), factor=10)),
        ("region=us:down@30-", Fault("refused", 30, at=("c/n",))),
        ("deployment=b/m:fail=25", Fault("status", at=("b/m",), status=500, chance=0.25)),
        ("model=m:down@0-5", Fault("refused", 0, 5, ("a/m", "b/m"))),
        ("provider=c:down", Fault("refused", at=("c/n",))),
    ],
)
def test_what_if_becomes_a_fault(text: str, fault: Fault) -> None:
    assert parse_what_ifs([text], DEPLOYMENT_SPECS) == [fault]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("region=eastsu:down", r"no region 'eastsu' \(did you mean eastus\?\); there is: eastus, us, westus3"),
        ("planet=mars:down", "SCOPE one of deployment, provider, model, region, zone"),
        ("region=eastus:late", "EFFECT one of down, slow=FACTOR, fail=PERCENT"),
        ("region=eastus:slow", "is no what-if"),
        ("region=eastus:down=3", "is no what-if"),
        ("region=eastus:slow=0.5", "a factor of 1 or more"),
        ("region=eastus:slow=1.2.3", "'1.2.3' is no number"),
        ("region=eastus:fail=101", "percent, over 0 and up to 100"),
        ("region=eastus:down@9-3", "begin before it ends"),
    ],
)  # fmt: skip
def test_invalid_what_if_is_refused_with_the_choices(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_what_ifs([text], DEPLOYMENT_SPECS)


def make_report() -> SimulationReport:
    def outcome(at: float, deployment: str, **more: object) -> RequestOutcome:
        return RequestOutcome(
            Arrival(at, 1000, 100), at, ok=True, deployment=deployment, output_tokens=100, **more
        )

    return SimulationReport(
        [
            outcome(1, "near", ttft_s=0.5),
            outcome(6, "near", ttft_s=0.7),
            outcome(7, "paid", ttft_s=2.0),
            RequestOutcome(Arrival(8, 1000, 100), 8.0),
        ],
        rate_limited_at_s=[6.5, 99.0],
    )


PRICING = {
    "near": DeploymentPricing("reserved", False, Price(input=2, output=10)),
    "paid": DeploymentPricing("paid per use", True, Price(input=2, output=10)),
    "idle": DeploymentPricing("openai", True),
}


def test_run_is_broken_down_by_tier_and_window() -> None:
    breakdown = LoadBreakdown(make_report(), PRICING, TimeWindows(5.0, 3))
    minute = 60 / 5
    assert breakdown.load_per_minute()["reserved"] == [1300 * minute, 1300 * minute, 0]
    assert breakdown.load_per_minute()["paid per use"] == [0, 1300 * minute, 0]
    assert breakdown.cost_per_minute() == {
        "paid per use": [0, pytest.approx(0.003 * minute), 0],
        "openai": [0, 0, 0],
    }
    assert breakdown.pay_per_use_share_by_window()[:2] == [0.0, 0.5]
    assert math.isnan(breakdown.pay_per_use_share_by_window()[2])
    assert breakdown.goodput_per_minute() == [100 * minute, 200 * minute, 0]
    assert breakdown.rate_limited_per_minute() == [0, minute, minute]
    assert breakdown.ttft_s_by_window(0.99) == [0.5, 2.0, 2.0]
    assert breakdown.pay_per_use_share() == pytest.approx(1 / 3)
    assert breakdown.total_cost_usd() == pytest.approx(0.003)
    assert breakdown.load_share_by_tier()["reserved"] == pytest.approx(2 / 3)


def test_unknown_price_is_not_zero() -> None:
    unknown = {**PRICING, "paid": DeploymentPricing("paid per use", True)}
    breakdown = LoadBreakdown(make_report(), unknown, TimeWindows(5.0, 3))
    assert math.isnan(breakdown.total_cost_usd())
    assert ["cost", "a price is unknown"] in comparison_table({"as it is": breakdown})
    names = [picture.name for picture in comparison_charts({"as it is": breakdown})]
    assert names == ["load-0", "goodput", "spill", "429s", "ttft"]
    assert "openai" not in comparison_charts({"as it is": breakdown})[0].series


def test_pictures_that_are_to_be_compared_share_a_scale_and_stand_by_themselves(tmp_path) -> None:
    less = SimulationReport(make_report().outcomes[:2])
    runs = {
        "as it <is>": LoadBreakdown(make_report(), PRICING, TimeWindows(5.0, 3)),
        "what if": LoadBreakdown(less, PRICING, TimeWindows(5.0, 3)),
    }
    drawn = {picture.name: picture for picture in comparison_charts(runs)}
    assert drawn["load-0"].y_max == drawn["load-1"].y_max == 2600 * 12
    assert set(drawn["ttft"].series) == set(runs)
    write_report(tmp_path, "About <this>", comparison_table(runs), list(drawn.values()))
    files = {file.name for file in tmp_path.iterdir()}
    assert files == {"index.html", *(f"{name}.svg" for name in drawn)}
    page = (tmp_path / "index.html").read_text()
    assert "<h1>About &lt;this&gt;</h1>" in page
    for name in drawn:
        svg = (tmp_path / f"{name}.svg").read_text()
        assert ElementTree.fromstring(svg).tag.endswith("svg")  # noqa: S314
        assert inline_svg(svg.strip()) in page
    assert "<script" not in page
    assert set(re.findall(r'(?:href|src)="(http[^"]*)"', page)) == set()


def test_home_outage_spills_to_pay_as_you_go(config: Path, tmp_path: Path) -> None:
    code, output = run_simulate(
        "--config", str(config), "--seconds", "30", "--rpm", "60", "--route", "short=chips",
        "--what-if", "region=koreacentral:slow=2", "--what-if", "deployment=near/gpt-4o:down",
        "--out", str(tmp_path / "out"),
    )  # fmt: skip
    assert code == 0, output
    rows = parse_facts(output)
    assert rows["requests"] == ("30", "30")
    assert rows["success"][0] == "100.000%"
    assert rows["paid per use"][0] == "0.00%"
    assert float(rows["paid per use"][1].rstrip("%")) == 100
    assert rows["cost"][0] == "$0.00"
    assert float(rows["cost"][1].lstrip("$")) > 0.01
    assert rows["load: reserved at home"] == ("100.00%", "0.00%")
    assert (tmp_path / "out/index.html").is_file()
    assert (tmp_path / "out/cost-1.svg").is_file()


def test_same_seed_and_trace_give_the_same_table(config: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    write_trace(trace, [Arrival(t / 2, 500, 40, "chat") for t in range(40)])
    args = ("--config", str(config), "--trace", str(trace), "--seconds", "10")
    code, output = run_simulate(*args)
    assert code == 0, output
    assert parse_facts(output)["requests"][0] == "20"
    assert run_simulate(*args)[1] == output


def test_classes_of_a_trace_map_to_routes(config: Path) -> None:
    scene = Simulation.from_file(config)
    plan = scene.traffic_plan(["short=chips"])
    assert plan.route(Arrival(0, 1, 1, "short")) == "chips"
    assert plan.route(Arrival(0, 1, 1, "other")) == "chat"
    assert scene.traffic_plan(["chips"]).route(Arrival(0, 1, 1)) == "chips"
    assert len(load_arrivals(None, 10, 120, 1)) == 20


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--what-if", "region=koreacentrla:down"], "did you mean koreacentral"),
        (["--route", "chta"], "no chat route 'chta' (did you mean chat?); there is: chat, chips"),
        (["--trace", "nowhere.csv"], "nowhere.csv"),
        (["--seconds", "0"], "--seconds"),
    ],
)
def test_invalid_arguments_are_refused_with_the_choices(config, args, message) -> None:
    code, output = run_simulate("--config", str(config), *args)
    assert code == 2
    assert message in re.sub(r"\s+", " ", output)
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("providers: {", ":1: not YAML"),
        (HOME_CONFIG.replace("ptu: 30", "ptu: many"), "hamlet.yaml:11: routes.chat.deployments[0].ptu"),
        (HOME_CONFIG.replace("provider: near", "provider: naer"), "did you mean near"),
        ("providers: {e: {kind: embedded}}\nroutes: {chat: {deployments: [{provider: e, model: embedded-chat}]}}", "no vendor that can be simulated"),
    ],
)  # fmt: skip
def test_invalid_configuration_is_refused_with_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "hamlet.yaml"
    file.write_text(text)
    code, output = run_simulate("--config", str(file))
    assert code == 2
    assert message in output
    assert "Traceback" not in output


def test_invalid_row_of_a_trace_is_refused_with_its_line(config: Path, tmp_path: Path) -> None:
    trace = tmp_path / "t.csv"
    for text, message in (
        ("arrival_s,prompt_tokens,completion_tokens\n1,2,3\n2,x,3\n", "t.csv:3: not a row"),
        ("arrival_s,prompt_tokens,completion_tokens\n", "no request in"),
    ):
        trace.write_text(text)
        code, output = run_simulate("--config", str(config), "--trace", str(trace))
        assert (code, message in output) == (2, True), output


def test_example_fleet_has_named_tiers(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text(example_fleet(9))
    tiers = list(dict.fromkeys(place.tier for place in Simulation.from_file(file).pricing.values()))
    assert tiers == ["reserved at home", "reserved elsewhere", "paid per use", "anthropic"]
