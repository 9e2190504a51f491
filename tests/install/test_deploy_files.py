"""The files of deploy/ are valid, fit together, and name only settings and commands that exist."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from app.cli.main import cli
from app.config import SECRET_SETTINGS, Settings
from tests.support.beacon_server import ROOT
from tests.support.machine import scaled

DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
BEACON = "/opt/beacon/bin/beacon"
# What a stop takes beyond BEACON_DRAIN_S (STOP_MARGIN_S of the supervisor and the worker).
STOP_MARGIN_S = 10


def files() -> list[Path]:
    return sorted(path for path in DEPLOY.rglob("*") if path.is_file())


def compose() -> Any:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def manifests() -> Iterator[Any]:
    for path in sorted(KUBERNETES.glob("*.yaml")):
        yield from yaml.safe_load_all(path.read_text())


def deployments() -> dict[str, Any]:
    return {one["metadata"]["name"]: one["spec"] for one in manifests() if one["kind"] == "Deployment"}


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_each_variable_is_a_setting(path: Path) -> None:
    known = {f"BEACON_{name.upper()}" for name in Settings.model_fields}
    known |= {f"BEACON_{name.upper()}_FILE" for name in SECRET_SETTINGS}
    own = {"BEACON_HOST"}  # what compose.yaml passes to Caddy
    assert set(re.findall(r"\bBEACON_[A-Z_]+", path.read_text())) - known - own == set()


@pytest.mark.parametrize("path", [path for path in files() if path.suffix == ".yaml"], ids=lambda path: path.name)
def test_each_yaml_file_can_be_read(path: Path) -> None:
    assert all(isinstance(document, dict) for document in yaml.safe_load_all(path.read_text()))


def test_compose_and_kubernetes_run_commands_that_there_are() -> None:
    built = [service for service in compose()["services"].values() if "build" in service]
    containers = [
        container
        for spec in deployments().values()
        for kind in ("containers", "initContainers")
        for container in spec["template"]["spec"][kind]
    ]
    commands = [service["command"] for service in built] + [container["args"] for container in containers]
    assert len(commands) == 4 + 4
    for command, *options in commands:
        found = cli.commands[command]
        found.make_context(command, options)
        assert isinstance(found, click.Command)


def test_compose_refers_only_to_what_it_has() -> None:
    document = compose()
    services = document["services"]
    mounted = {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])}
    assert mounted == document["volumes"].keys()
    awaited = {name for service in services.values() for name in service.get("depends_on", ())}
    assert awaited <= services.keys()
    hosts = re.findall(
        r"(?:@|http://|redis://|reverse_proxy |8000 )([a-z]+\d?)(?=[:/])", (DEPLOY / "compose.yaml").read_text()
    )
    assert {host for host in hosts if host not in services} == set()
    example = (DEPLOY / "compose.env.example").read_text()
    wanted = set(re.findall(r"\$\{([A-Z_]+)", (DEPLOY / "compose.yaml").read_text()))
    assert wanted == set(re.findall(r"^([A-Z_]+)=", example, re.MULTILINE))


def test_compose_trusts_caddy_alone_and_waits_for_a_drain() -> None:
    document = compose()
    web = document["services"]["web1"]
    caddy = document["services"]["caddy"]["networks"]["default"]["ipv4_address"]
    assert web["environment"]["BEACON_TRUSTED_PROXIES"] == caddy
    assert int(web["stop_grace_period"].removesuffix("s")) > int(web["environment"]["BEACON_DRAIN_S"]) + STOP_MARGIN_S


def test_kubernetes_waits_for_a_drain_and_asks_the_right_probes() -> None:
    settings = next(one for one in manifests() if one["kind"] == "ConfigMap")["data"]
    for spec in deployments().values():
        pod = spec["template"]["spec"]
        (container,) = pod["containers"]
        stop = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
        least = float(settings["BEACON_DRAIN_S"]) + STOP_MARGIN_S + float(stop[1])
        assert pod["terminationGracePeriodSeconds"] > least
        assert all(one["securityContext"]["readOnlyRootFilesystem"] for one in (*pod["initContainers"], container))
    assert deployments()["beacon-worker"]["replicas"] == 1
    (web,) = deployments()["beacon-web"]["template"]["spec"]["containers"]
    probes = {kind: web[kind]["httpGet"]["path"] for kind in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert probes == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}


def test_kubernetes_objects_select_the_pods_that_there_are() -> None:
    labels = {name: spec["template"]["metadata"]["labels"] for name, spec in deployments().items()}
    for one in manifests():
        selector = one.get("spec", {}).get("selector")
        if one["kind"] == "Service":
            assert selector.items() <= labels["beacon-web"].items()
        elif one["kind"] in ("Deployment", "PodDisruptionBudget"):
            name = one["metadata"]["name"]
            assert selector["matchLabels"].items() <= labels[name].items()
    listed = next(one for one in manifests() if one["kind"] == "Kustomization")["resources"]
    assert {path.name.replace(".example", "") for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"} == {
        *listed
    }


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_the_units_are_valid_and_exposed_to_little(tmp_path: Path) -> None:
    """Only the path of the command is replaced, because systemd checks that it exists."""
    units = []
    for unit in UNITS:
        text = unit.read_text()
        assert f"ExecStart={BEACON} " in text
        units.append(tmp_path / unit.name)
        units[-1].write_text(text.replace(BEACON, sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        capture_output=True,
        text=True,
        timeout=scaled(60),
        check=False,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )
    named = [line for line in done.stderr.splitlines() if "beacon" in line]  # others may come with the system
    assert named == []
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20"]
    for path in units:
        subprocess.run([*command, path], check=True, capture_output=True, timeout=scaled(60))


def test_each_unit_has_the_same_walls() -> None:
    walls = [unit.read_text().split("# What it may do")[1].split("\n[Install]")[0].strip() for unit in UNITS]
    assert len(UNITS) == 3
    assert len(set(walls)) == 1


def test_units_let_streams_and_commands_end() -> None:
    drain = re.search(r"BEACON_DRAIN_S=(\d+)", (DEPLOY / "systemd" / "beacon.env.example").read_text())
    assert drain
    for name in ("beacon-web", "beacon-worker"):
        stop = re.search(r"^TimeoutStopSec=(\d+)$", (DEPLOY / "systemd" / f"{name}.service").read_text(), re.MULTILINE)
        assert stop
        assert int(stop[1]) > int(drain[1]) + STOP_MARGIN_S
