"""Dask workers as SLURM jobs: copy this beside your pipeline, change the capitals, and run

    PYTHONPATH=. inmf run duet.yaml --scheduler inmf_slurm:cpus

It needs `pip install dask-jobqueue`, and certificates in the pipeline's ``cluster.tls``.
"""

from __future__ import annotations

import os
from typing import Any

from dask_jobqueue import SLURMCluster
from distributed import Security

PARTITION = os.environ.get("INMF_PARTITION")
ACCOUNT = os.environ.get("INMF_ACCOUNT")
JOBS = int(os.environ.get("INMF_JOBS", "16"))
MEMORY = "4GiB"
WALLTIME = "04:00:00"
# Shorter than the walltime: a worker then hands on what it holds instead of being killed in the middle of a task.
LIFETIME = ["--lifetime", "230m", "--lifetime-stagger", "5m"]
# The network that nodes reach the driver's machine by, such as "ib0"; None: Dask's choice.
INTERFACE = os.environ.get("INMF_INTERFACE")
# What makes the program's environment on a node, where the jobs do not inherit it.
PROLOGUE = ["export OMP_NUM_THREADS=1"]
# How long the first job may wait in the queue.
QUEUE_SECONDS = 24 * 3600


def cpus() -> SLURMCluster:
    """Return a cluster of workers of one core each."""
    return _cluster(worker_extra_args=LIFETIME)


def gpus() -> SLURMCluster:
    """Return a cluster of workers of one core and one GPU each, for ``resources: {fit: {GPU: 1}}``."""
    return _cluster(worker_extra_args=[*LIFETIME, "--resources", "GPU=1"], job_extra_directives=["--gres=gpu:1"])


def _cluster(**options: Any) -> SLURMCluster:
    cluster = SLURMCluster(
        queue=PARTITION,
        account=ACCOUNT,
        cores=1,
        processes=1,
        memory=MEMORY,
        walltime=WALLTIME,
        interface=INTERFACE,
        job_script_prologue=PROLOGUE,
        protocol="tls://",
        # Dask's settings, where cluster.tls of the pipeline has been put.
        security=Security(require_encryption=True),
        # Others are on this machine's network too.
        scheduler_options={"dashboard_address": "127.0.0.1:0"},
        **options,
    )
    try:
        cluster.scale(jobs=JOBS)
        # A run begins with the first; the others join it as the queue lets them.
        cluster.wait_for_workers(1, timeout=QUEUE_SECONDS)
    except BaseException:
        cluster.close()
        raise
    return cluster
