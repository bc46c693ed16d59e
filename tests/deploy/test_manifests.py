"""Manifests and image, checked as far as can be without a cluster: Kubernetes' own schemas, and commands that parse.

The kinds of KubeRay are no part of those schemas: their pods are checked as Pods, their own fields by name and type.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml

from runner.cli.app import application

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
KUBERNETES = "1.30"
"""The oldest release that the manifests are for."""
MANIFESTS: dict[str, dict[str, Any]] = {
    file.name: document
    for file in sorted((DEPLOY / "kuberay").glob("*.yaml"))
    for document in yaml.safe_load_all(file.read_text())
}
RAY_JOB: dict[str, type] = {
    "entrypoint": str,
    "shutdownAfterJobFinishes": bool,
    "ttlSecondsAfterFinished": int,
    "activeDeadlineSeconds": int,
    "rayClusterSpec": dict,
}
CLUSTER: dict[str, type] = {"rayVersion": str, "headGroupSpec": dict, "workerGroupSpecs": list}
HEAD: dict[str, type] = {"rayStartParams": dict, "template": dict}
WORKERS: dict[str, type] = {**HEAD, "groupName": str, "replicas": int, "minReplicas": int, "maxReplicas": int}


def job_of(manifest: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = manifest["spec"]
    if manifest["kind"] == "RayCronJob":
        assert spec.keys() == {"schedule", "jobTemplate"}
        return dict(spec["jobTemplate"])
    return spec


def pods_of(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The pod templates' specs, whatever holds them."""
    match manifest["kind"]:
        case "RayJob" | "RayCronJob":
            cluster = job_of(manifest)["rayClusterSpec"]
            return [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
        case "CronJob":
            return [manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"]]
    return []


def validated(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def as_pod(spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}


def parsed(arguments: list[str]) -> None:
    """The command line is one of the runner's: names and options exist, values are of their types."""
    name, *rest = arguments
    command = application.get_command(click.Context(application), name)
    assert command is not None, name
    command.make_context(name, rest)


PODS = [(name, number) for name, manifest in MANIFESTS.items() for number in range(len(pods_of(manifest)))]


def test_there_are_manifests_for_a_job_and_for_schedules() -> None:
    kinds = sorted(manifest["kind"] for manifest in MANIFESTS.values())
    assert kinds == ["CronJob", "PersistentVolumeClaim", "RayCronJob", "RayJob"]


@pytest.mark.parametrize("name", [n for n, m in MANIFESTS.items() if not m["kind"].startswith("Ray")])
def test_a_manifest_of_kubernetes_is_valid(name: str) -> None:
    validated(MANIFESTS[name])


@pytest.mark.parametrize(("name", "number"), PODS)
def test_a_pod_is_valid_and_mounts_what_it_has(name: str, number: int) -> None:
    spec = pods_of(MANIFESTS[name])[number]
    validated(as_pod(spec))
    volumes = {volume["name"] for volume in spec["volumes"]}
    for container in (*spec.get("initContainers", ()), *spec["containers"]):
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        assert "limits" in container["resources"]
        if "args" in container:
            parsed(container["args"])


def test_the_schemas_bite() -> None:
    spec = pods_of(MANIFESTS["rebuild-job.yaml"])[0]
    for wrong in ({**spec, "container": []}, {**spec, "containers": [{"name": 5}]}):
        with pytest.raises(kubernetes_validate.ValidationError):
            validated(as_pod(wrong))
    with pytest.raises(click.UsageError):
        parsed(["rebuild", "--al"])


@pytest.mark.parametrize("name", [n for n, m in MANIFESTS.items() if m["kind"].startswith("Ray")])
def test_fields_of_kuberay_are_known_and_typed(name: str) -> None:
    job = job_of(MANIFESTS[name])
    cluster = job["rayClusterSpec"]
    groups = [(cluster["headGroupSpec"], HEAD), *((group, WORKERS) for group in cluster["workerGroupSpecs"])]
    for fields, known in ((job, RAY_JOB), (cluster, CLUSTER), *groups):
        assert fields.keys() == known.keys()
        for field, value in fields.items():
            assert type(value) is known[field], field
    assert all(isinstance(value, str) for group, _ in groups for value in group["rayStartParams"].values())
    assert cluster["rayVersion"] == version("ray")
    command, *arguments = shlex.split(job["entrypoint"])
    assert command == "runner"
    parsed(arguments)


def test_the_job_and_the_scheduled_one_are_the_same() -> None:
    assert job_of(MANIFESTS["rebuild-job.yaml"]) == job_of(MANIFESTS["scheduled-rebuild.yaml"])


def test_the_image_file_passes_hadolint() -> None:
    hadolint = str(Path(sys.executable).parent / "hadolint")
    done = subprocess.run([hadolint, str(DEPLOY / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_file_copies_what_there_is_and_its_ignore_file_lets_in() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    copied = [word for line in re.findall(r"^COPY (?!--)(.*)$", text, re.MULTILINE) for word in line.split()[:-1]]
    assert copied
    allowed = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().split() if line.startswith("!")}
    assert set(copied) == allowed
    assert all((DEPLOY.parent / name).exists() for name in copied)
    assert re.findall(r"^(?:ENTRYPOINT|CMD) (.*)$", text, re.MULTILINE) == ['["runner-entrypoint"]', '["--help"]']


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user")
@pytest.mark.parametrize(("user", "kept"), [(0, True), (12345, False)])
def test_another_user_of_the_image_gets_the_compiled_kernels(user: int, kept: bool) -> None:
    """They are used by their owner alone, so the entry makes a copy; it takes the runner's arguments as they are."""
    text = (DEPLOY / "entrypoint").read_text()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o777)
        cache = place / "cache"
        (cache / "kernels").mkdir(parents=True)
        (cache / "kernels" / "one").write_text("machine code")
        entry, runner = place / "entry", place / "runner"
        entry.write_text(text.replace("/opt/runner/cache", str(cache)))
        runner.write_text('#!/bin/sh\necho "$RUNNER_CACHE_DIR"\ncat "$RUNNER_CACHE_DIR/kernels/one"\necho "$#"\n')
        entry.chmod(0o755)
        runner.chmod(0o755)
        environment = {"PATH": f"{place}:/usr/bin:/bin", "RUNNER_CACHE_DIR": str(cache), "TMPDIR": name}
        for _ in range(2):
            done = subprocess.run(
                [str(entry), "query", "SELECT 1"], env=environment, user=user, group=0, capture_output=True, text=True,
                check=True,
            )  # fmt: skip
            used, code = done.stdout.split("\n", 1)
            assert code == "machine code2\n"
            assert (used == str(cache)) is kept
            assert Path(used).stat().st_uid == user
