"""Workers as an indexed Kubernetes Job (API batch/v1, Kubernetes 1.29 and later)."""

from dataclasses import dataclass
from typing import Any

import yaml

from sa_engine.errors import ExitStatus
from sa_engine.pipelines.executors.job import ClusterJob

TRIES = 10
"""Faults of one worker after which it is given up; evictions and stops are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesOptions:
    """What is Kubernetes' own.

    image: of the container, with the engine in it.
    claim: a PersistentVolumeClaim that holds dataset and photographs, ReadWriteMany; None for a
        dataset in an object store.
    mount: where it is mounted.
    namespace: None for the one that kubectl has chosen.
    scratch: local disk of a worker for a dataset in an object store, as "50Gi".
    """

    image: str
    claim: str | None = None
    mount: str = "/data"
    namespace: str | None = None
    scratch: str = "50Gi"


def kubernetes_job(job: ClusterJob, options: KubernetesOptions) -> dict[str, Any]:
    """The Job's manifest.

    A pod that is evicted, or stopped by a signal (130), is replaced without counting as a try;
    wrong options (2) end the whole job at once.
    """
    requests: dict[str, Any] = {"cpu": str(job.cpus), "memory": job.memory}
    limits: dict[str, Any] = {"memory": job.memory}
    if job.gpus:
        limits["nvidia.com/gpu"] = job.gpus
    container: dict[str, Any] = {
        "name": "sa-engine",
        "image": options.image,
        "command": list(job.words),
        "resources": {"requests": requests, "limits": limits},
    }
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 120,
        "containers": [container],
    }
    if options.claim is not None:
        container["volumeMounts"] = [{"name": "data", "mountPath": options.mount}]
        pod["volumes"] = [
            {"name": "data", "persistentVolumeClaim": {"claimName": options.claim}},
        ]
    else:
        requests["ephemeral-storage"] = options.scratch
        container["env"] = [{"name": "SA_ENGINE_CACHE", "value": "/scratch"}]
        container["volumeMounts"] = [{"name": "scratch", "mountPath": "/scratch"}]
        pod["volumes"] = [{"name": "scratch", "emptyDir": {"sizeLimit": options.scratch}}]
    metadata = {"name": job.name}
    if options.namespace:
        metadata["namespace"] = options.namespace
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "completionMode": "Indexed",
            "completions": job.workers,
            "parallelism": job.workers,
            "backoffLimitPerIndex": TRIES,
            "podFailurePolicy": {
                "rules": [
                    _by_exit_status("FailJob", ExitStatus.USAGE),
                    _by_exit_status("Ignore", ExitStatus.INTERRUPTED),
                    {
                        "action": "Ignore",
                        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                    },
                ]
            },
            "ttlSecondsAfterFinished": 7 * 24 * 3600,
            "template": {"spec": pod},
        },
    }


def as_yaml(manifest: dict[str, Any]) -> str:
    """A manifest as the text that kubectl takes."""
    return str(yaml.safe_dump(manifest, sort_keys=False))


def _by_exit_status(action: str, status: ExitStatus) -> dict[str, Any]:
    return {
        "action": action,
        "onExitCodes": {"containerName": "sa-engine", "operator": "In", "values": [int(status)]},
    }
