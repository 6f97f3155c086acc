"""The cluster of this machine: a process a core, and one for each GPU that is asked for."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any, Literal

from inmf_flow.errors import ClusterError

GPU = "GPU"
"""The resource that workers of a GPU declare, and that stages ask for."""

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_LOOPBACK = "127.0.0.1"
# By Dask's settings glibc gives memory back as soon as it is freed. A worker needs as much again for the next clip, and
# gets it page by page: that takes half as long as a separation. So much is kept, and taken from what is kept, at most.
_KEPT_BYTES, _LARGE_BYTES = 128 << 20, 32 << 20


@contextmanager
def local_cluster(workers: int | None, gpus: int | Literal["all"] | None = None) -> Iterator[Any]:
    """Give a Dask cluster of processes of one thread each, reached on loopback alone.

    Parameters
    ----------
    workers
        Number of processes without a GPU; one a core by default.
    gpus
        Number of GPUs, or all of them: each has one process more, which sees no other and declares ``GPU: 1``.

    Raises
    ------
    ClusterError
        When there are not so many GPUs.
    """
    from distributed import Nanny, Scheduler, SpecCluster

    devices = _devices(gpus) if gpus is not None else []
    silence_dask()
    count = workers or os.cpu_count() or 1
    common = {
        "host": _LOOPBACK,
        "nthreads": 1,
        "memory_limit": 1 / (count + len(devices)),
        "dashboard": False,
        "silence_logs": logging.CRITICAL,
    }
    # Only with GPUs: elsewhere users may rely on the variable being passed on.
    hidden = {"env": {_VISIBLE: ""}} if devices else {}
    spec: dict[Any, Any] = {number: {"cls": Nanny, "options": {**common, **hidden}} for number in range(count)}
    for device in devices:
        options = {**common, "env": {_VISIBLE: device}, "resources": {GPU: 1}}
        spec[f"gpu-{device}"] = {"cls": Nanny, "options": options}
    dashboard = f"{_LOOPBACK}:0" if has_dashboard() else None
    address = {"host": _LOOPBACK, "port": 0, "dashboard": dashboard is not None, "dashboard_address": dashboard}
    cluster: Any = None
    try:
        with _deaf_children(), _lean():
            cluster = SpecCluster(
                workers=spec, scheduler={"cls": Scheduler, "options": address}, silence_logs=logging.CRITICAL
            )
        yield cluster
    finally:
        if cluster is not None:
            cluster.close()


@contextmanager
def _lean() -> Iterator[None]:
    """Let workers that are begun inside keep freed memory and look at themselves seldom.

    Variables of the environment that are set already win.
    """
    from dask import config

    name = "distributed.nanny.pre-spawn-environ"
    kept = {"MALLOC_TRIM_THRESHOLD_": _KEPT_BYTES, "MALLOC_MMAP_THRESHOLD_": _LARGE_BYTES}
    settings = {
        name: {**config.get(name), **kept},
        # For a page of the dashboard stacks are sampled, as Dask sets it a hundred times a second.
        "distributed.worker.profile.enabled": has_dashboard(),
        "distributed.worker.profile.interval": "200ms",
        "distributed.worker.profile.cycle": "10s",
        "distributed.admin.tick.interval": "1s",
    }
    with config.set(settings):
        yield


def _devices(gpus: int | Literal["all"]) -> list[str]:
    """Return what CUDA calls the GPUs to use, of those that this process may see."""
    import torch

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get(_VISIBLE, "").split(",") if name.strip()]
    devices = (named or [str(number) for number in range(count)])[:count]
    wanted = max(count, 1) if gpus == "all" else gpus
    if wanted > count:
        raise ClusterError(
            "there are not so many GPUs",
            where="cluster.gpus",
            got=f"{count} that torch {torch.__version__} can use",
            expected=f"at least {wanted}",
            hint="`nvidia-smi` shows them; torch has to be a build for CUDA. Without a GPU leave cluster.gpus out.",
        )
    return devices[:wanted]


def silence_dask() -> None:
    """Leave it to our errors to say what went wrong: Dask's own reports are tracebacks."""
    # It sets a level of its own for its client.
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def has_dashboard() -> bool:
    """Return whether bokeh is there to show Dask's dashboard (the extra ``dashboard``)."""
    return importlib.util.find_spec("bokeh") is not None


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Keep Ctrl-C from processes begun inside: a terminal sends it to all, and only the driver is to answer.

    Threads inherit the block, and through them workers that are started again later. The driver gets a Ctrl-C of this
    time when the block ends.
    """
    # It would lift the block when the first worker is started.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
