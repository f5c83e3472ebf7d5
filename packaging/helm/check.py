#!/usr/bin/env python3
"""Lints the chart and renders it with Helm's own engine, in several ways, and checks what comes out: against Kubernetes' own schemas, and
for what keeps the HSM's keys its own.

Needs the packages helm-python-sdk (Helm as a library), kubernetes-validate and PyYAML. Asks no cluster.
"""

import pathlib
import sys

import helm_python
import kubernetes_validate
import yaml

CHART = pathlib.Path(__file__).parent / "countersign"
KUBERNETES = "1.31"
LEAST = {
    "image": {"hsm": "registry.example/hsm@sha256:0", "relay": "registry.example/relay@sha256:0"},
    "hsm": {"existingClaim": "hsm-home"},
}
FULL = {
    "image": {**LEAST["image"], "pullSecrets": [{"name": "pull"}]},
    "hsm": {
        **LEAST["hsm"],
        "weakSandbox": True,
        "extraArgs": ["--metrics-tenants"],
        "nodeSelector": {"hsm": "yes"},
        "tolerations": [{"key": "hsm", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
    },
    "clients": [{"uid": 10003, "container": {"name": "backend", "image": "registry.example/backend"}}],
    "metrics": {
        "enabled": True,
        "forwarderImage": "registry.example/forwarder",
        "forwarderArgs": ["9466", "127.0.0.1:9464"],
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    },
    "relay": {"allowOrigins": ["https://wallet.example"]},
    "networkPolicy": {
        "relayFrom": [{"podSelector": {"matchLabels": {"app": "proxy"}}}],
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
    },
}


def render(chart, values):
    """The objects by kind and name."""
    objects = {}
    for name, text in chart.render(values, name="try", namespace="custody").items():
        if name.endswith(".txt"):
            continue
        for document in yaml.safe_load_all(text):
            if document:
                objects[document["kind"], document["metadata"]["name"]] = document
    return objects


def check_schemas(objects):
    for (kind, _), document in objects.items():
        # That one is the Prometheus operator's, and not Kubernetes'.
        if kind != "ServiceMonitor":
            kubernetes_validate.validate(document, KUBERNETES, strict=True)


def pod(objects):
    return objects["StatefulSet", "try-countersign"]["spec"]["template"]["spec"]


def check_hardening(objects):
    stateful = objects["StatefulSet", "try-countersign"]["spec"]
    assert stateful["replicas"] == 1 and stateful["updateStrategy"] == {"type": "OnDelete"}
    spec = pod(objects)
    assert spec["automountServiceAccountToken"] is False and "fsGroup" not in spec["securityContext"]
    assert not spec.get("shareProcessNamespace"), "a container has no business with the processes of another"
    users = []
    for container in spec["containers"]:
        context = container["securityContext"]
        assert context["runAsNonRoot"] and context["readOnlyRootFilesystem"], container["name"]
        assert context["allowPrivilegeEscalation"] is False and context["privileged"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        users.append(context["runAsUser"])
        mounts = {mount["name"]: mount for mount in container.get("volumeMounts", [])}
        if container["name"] != "hsm" and "hsm-home" in mounts:
            assert mounts["hsm-home"]["readOnly"] and mounts["hsm-home"]["subPath"] == "home"
    assert len(set(users)) == len(users), "each container is a user of its own"
    policy = objects["NetworkPolicy", "try-countersign"]["spec"]
    assert policy["egress"] == [] and policy["policyTypes"] == ["Ingress", "Egress"]
    assert objects["PodDisruptionBudget", "try-countersign"]["spec"]["maxUnavailable"] == 0


def main():
    for values in (LEAST, FULL):
        report = helm_python.lint(str(CHART), values, strict=True)
        worse = [message for message in report["messages"] if message["severity"] > 1]
        assert not worse and not report["errors"], report
    chart = helm_python.Chart.load(str(CHART))
    least, full = render(chart, LEAST), render(chart, FULL)
    for objects in (least, full):
        check_schemas(objects)
        check_hardening(objects)
    assert [container["name"] for container in pod(least)["containers"]] == ["hsm", "relay"]
    assert least["NetworkPolicy", "try-countersign"]["spec"]["ingress"] == [], "nobody comes in unless it is said"
    arguments = pod(full)["containers"][0]["args"]
    for expected in ("--weak-sandbox", "--allow-uid=10002", "--allow-uid=10003", "--metrics-tenants"):
        assert expected in arguments, arguments
    assert "--weak-sandbox" not in pod(least)["containers"][0]["args"]
    assert [container["name"] for container in pod(full)["containers"]] == ["hsm", "relay", "metrics", "backend"]
    assert len(full["NetworkPolicy", "try-countersign"]["spec"]["ingress"]) == 2
    assert ("ServiceMonitor", "try-countersign") in full and ("ServiceMonitor", "try-countersign") not in least
    for missing in ({}, {"image": LEAST["image"]}, {"hsm": LEAST["hsm"]}):
        try:
            chart.render(missing, name="try", namespace="custody")
        except helm_python.HelmError:
            continue
        sys.exit(f"rendered although something that it needs was not said: {missing}")
    print(f"Helm {helm_python.helm_sdk_version()}: linted, {len(least)} and {len(full)} objects rendered and checked")


main()
