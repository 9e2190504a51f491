"""The rules and the dashboard of deploy/monitoring name what Beacon exports, and each rule fires when it should."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.monitoring.metric_definitions import LAG_METRIC, METRICS
from scripts.bootstrap import find_program
from tests.support.beacon_server import ROOT
from tests.support.machine import scaled

RULES = ROOT / "deploy" / "monitoring" / "prometheus-rules.yaml"
DASHBOARD = ROOT / "deploy" / "monitoring" / "grafana-dashboard.json"
PROMTOOL = find_program("promtool")
EXPORTED = {metric.name for metric in METRICS} | {f"{LAG_METRIC}_{end}" for end in ("bucket", "sum", "count")}
HOST = 'instance="a", job="beacon"'
EVAL = "20m"
# A host where all is well, every 15 s for 20 minutes.
WELL = {
    f"up{{{HOST}}}": "1x80",
    f'beacon_streams_open{{{HOST}, shape="json"}}': "100x80",
    f"beacon_streams_opened_total{{{HOST}}}": "0+1x80",
    f'beacon_streams_closed_total{{{HOST}, reason="lifetime"}}': "0+1x80",
    f'beacon_streams_closed_total{{{HOST}, reason="killed"}}': "0x80",
    f'beacon_stream_resumes_total{{{HOST}, outcome="replayed"}}': "0+10x80",
    f'beacon_stream_resumes_total{{{HOST}, outcome="reset"}}': "0x80",
    f'beacon_streams_refused_total{{{HOST}, reason="full"}}': "0x80",
    f'beacon_streams_refused_total{{{HOST}, reason="rate"}}': "0x80",
    f"beacon_deliveries_total{{{HOST}}}": "0+100x80",
    f"beacon_stream_bytes_total{{{HOST}}}": "0+1000x80",
    f'beacon_delivery_lag_seconds_bucket{{{HOST}, le="0.1"}}': "0+100x80",
    f'beacon_delivery_lag_seconds_bucket{{{HOST}, le="2.5"}}': "0+100x80",
    f'beacon_delivery_lag_seconds_bucket{{{HOST}, le="+Inf"}}': "0+100x80",
    f"beacon_readers_slow{{{HOST}}}": "1x80",
    f"beacon_readers_fell_behind_total{{{HOST}}}": "0x80",
    f"beacon_workers{{{HOST}}}": "2x80",
    f"beacon_loop_lag_seconds{{{HOST}}}": "0.01x80",
    f"beacon_log_head{{{HOST}}}": "0+1x80",
    f"beacon_log_tail_cursor{{{HOST}}}": "0+1x80",
    f"beacon_degraded{{{HOST}}}": "0x80",
    f"beacon_log_rows{{{HOST}}}": "10x80",
    f"beacon_log_max_rows{{{HOST}}}": "100x80",
    f"beacon_log_bytes{{{HOST}}}": "10x80",
    f"beacon_log_max_bytes{{{HOST}}}": "100x80",
    f"beacon_wal_bytes{{{HOST}}}": "4096x80",
    f"beacon_wal_age_seconds{{{HOST}}}": "0x80",
    f"beacon_unreadable_events_total{{{HOST}}}": "0x80",
    f'beacon_client_errors_total{{{HOST}, where="script"}}': "0x80",
    f"beacon_draining{{{HOST}}}": "0x80",
    f"beacon_drain_streams_left{{{HOST}}}": "0x80",
    f'beacon_build_info{{{HOST}, build="x"}}': "1x80",
    'beacon_build_info{instance="b", job="beacon", build="x"}': "1x80",
}
# What differs from that, and the rule that says so. The values are from now on, 20 minutes after the first.
WRONG: dict[str, dict[str, str]] = {
    "BeaconDown": {f"up{{{HOST}}}": "1x70 0x9"},
    "BeaconStreamsHalved": {f'beacon_streams_open{{{HOST}, shape="json"}}': "100x78 40x1"},
    "BeaconStreamsShortLived": {f"beacon_streams_opened_total{{{HOST}}}": "0+30x80"},
    "BeaconStreamsKilled": {f'beacon_streams_closed_total{{{HOST}, reason="killed"}}': "0x70 1x9"},
    "BeaconStreamsReset": {f'beacon_stream_resumes_total{{{HOST}, outcome="reset"}}': "0+1x80"},
    "BeaconStreamsRefused": {f'beacon_streams_refused_total{{{HOST}, reason="full"}}': "0x70 1x9"},
    "BeaconStreamsLimited": {f'beacon_streams_refused_total{{{HOST}, reason="rate"}}': "0+10x80"},
    "BeaconDeliveriesStopped": {f"beacon_deliveries_total{{{HOST}}}": "100x80"},
    "BeaconNetworkNearlyFull": {f"beacon_stream_bytes_total{{{HOST}}}": "0+1500000000x80"},
    "BeaconDeliveryLag": {f'beacon_delivery_lag_seconds_bucket{{{HOST}, le="0.1"}}': "0+50x80"},
    "BeaconReadersSlow": {f"beacon_readers_slow{{{HOST}}}": "20x80"},
    "BeaconReadersFellBehind": {f"beacon_readers_fell_behind_total{{{HOST}}}": "0+5x80"},
    "BeaconWorkersMissing": {f"beacon_workers{{{HOST}}}": "2x70 1x9"},
    "BeaconLoopBlocked": {f"beacon_loop_lag_seconds{{{HOST}}}": "0.5x80"},
    "BeaconDegraded": {f"beacon_degraded{{{HOST}}}": "1x80"},
    "BeaconTailBehind": {f"beacon_log_tail_cursor{{{HOST}}}": "0x80"},
    "BeaconDrainTooLong": {f"beacon_draining{{{HOST}}}": "1x80"},
    "BeaconDrainStuck": {
        f"beacon_draining{{{HOST}}}": "0x75 1x4",
        f"beacon_drain_streams_left{{{HOST}}}": "0x74 50x5",
    },
    "BeaconBuildsDiffer": {'beacon_build_info{instance="b", job="beacon", build="y"}': "1x80"},
    "BeaconLogRowsNearlyFull": {f"beacon_log_rows{{{HOST}}}": "95x80"},
    "BeaconLogBytesNearlyFull": {f"beacon_log_bytes{{{HOST}}}": "95x80"},
    "BeaconWalLarge": {f"beacon_wal_bytes{{{HOST}}}": "99999999x80"},
    "BeaconWalBlocked": {f"beacon_wal_age_seconds{{{HOST}}}": "100x80"},
    "BeaconUnreadableEvents": {f"beacon_unreadable_events_total{{{HOST}}}": "0x70 1x9"},
    "BeaconClientErrors": {f'beacon_client_errors_total{{{HOST}, where="script"}}': "0+1x80"},
}


def rules() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def alerts_of_the_document() -> set[str]:
    """The metrics of docs/metrics.md that have something in their column "alert when"."""
    rows = re.findall(
        r"^\| `(beacon_\w+)[^|]*\|(?:[^|]|\\\|)*\|(?:[^|]|\\\|)*\|((?:[^|]|\\\|)*)\|$", document(), re.MULTILINE
    )
    return {metric for metric, alert in rows if alert.strip()}


def document() -> str:
    return (ROOT / "docs" / "metrics.md").read_text()


def test_each_alert_of_the_document_has_its_rule() -> None:
    expressions = " ".join(rule["expr"] for rule in rules().values())
    assert len(alerts_of_the_document()) > 20
    assert {metric for metric in alerts_of_the_document() if metric not in expressions} == set()
    assert "up == 0" in document()
    assert rules()["BeaconDown"]["expr"] == 'up{job="beacon"} == 0'


@pytest.mark.parametrize("file", [RULES, DASHBOARD], ids=lambda path: path.name)
def test_rules_and_dashboard_name_only_metrics_that_beacon_exports(file: Path) -> None:
    named = set(re.findall(r"\bbeacon_[a-z_]+", file.read_text()))
    assert named - EXPORTED == set()


def test_the_dashboard_shows_every_metric() -> None:
    text = DASHBOARD.read_text()
    ids = [panel["id"] for panel in json.loads(text)["panels"]]
    assert len(ids) == len(set(ids))
    limits = {"beacon_delivery_lag_seconds"}
    assert {metric.name for metric in METRICS if metric.name not in text} - limits == set()


@pytest.mark.skipif(not PROMTOOL, reason="no promtool (Debian's package prometheus)")
def test_each_rule_fires_when_it_should_and_none_where_all_is_well(tmp_path: Path) -> None:
    assert WRONG.keys() == rules().keys(), "each rule has a case here"
    (tmp_path / "rules.yaml").write_text(RULES.read_text())
    run_tests = {"rule_files": ["rules.yaml"], "tests": [case({}, *WRONG)]}
    (tmp_path / "well.json").write_text(json.dumps(run_tests))
    (tmp_path / "wrong.json").write_text(
        json.dumps({**run_tests, "tests": [case(changes, alert) for alert, changes in WRONG.items()]})
    )
    done = promtool(tmp_path, "test", "rules", "well.json")  # it also checks the rules themselves
    assert done.returncode == 0, done.stdout + done.stderr
    # promtool compares alerts in full: its complaint about one that nobody expected says that it fired.
    told = promtool(tmp_path, "test", "rules", "wrong.json")
    fired = set(re.findall(r"alertname: (\w+), time: 20m, *\n +exp:\[ *\n? *\], *\n +got:\[\s*0:", told.stderr))
    assert fired == set(WRONG), told.stderr


def case(changes: dict[str, str], *alerts: str) -> dict[str, Any]:
    """None of these alerts is expected."""
    quiet = [{"eval_time": EVAL, "alertname": alert, "exp_alerts": []} for alert in alerts]
    return {**series(changes), "alert_rule_test": quiet}


def series(changes: dict[str, str]) -> dict[str, Any]:
    values = {**WELL, **changes}
    moved = [name for name in WELL if 'instance="b"' in name] if any('build="y"' in name for name in changes) else []
    given = [{"series": name, "values": value} for name, value in values.items() if name not in moved]
    return {"interval": "15s", "input_series": given}


def promtool(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [str(PROMTOOL), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=scaled(60), check=False)
