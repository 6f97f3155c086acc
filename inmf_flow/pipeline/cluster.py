"""From what a pipeline says of its cluster to a Dask client."""

from __future__ import annotations

import importlib
import importlib.util
import ipaddress
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any
from urllib.parse import urlsplit

from inmf_flow.errors import ClusterError

_CONNECT_SECONDS = 20
# Without these distributed makes no TLS context, and fails with a TypeError.
_TLS_SETTINGS = ("distributed.comm.tls.ca-file", "distributed.comm.tls.client.cert")


@contextmanager
def open_client(scheduler: str, workers: int | None) -> Iterator[Any]:
    """Give a `distributed.Client`, and close what was opened for it.

    Parameters
    ----------
    scheduler
        ``local`` (a process a core), an address (``tcp://...`` on loopback, ``tls://...``), or
        ``package.module:factory``, a function without arguments that returns a Dask cluster or client.
    workers
        Number of processes of a local cluster; one a core by default.

    Raises
    ------
    ClusterError
        When there is no scheduler at the address, it is not safe to talk to, or the factory does not work.
    """
    from distributed import Client

    if scheduler == "local":
        with _local_cluster(workers) as cluster, Client(cluster) as client:
            yield client
    elif "://" in scheduler:
        _check_address(scheduler)
        if scheduler.startswith("tls://"):
            _check_tls(scheduler)
        try:
            client = Client(scheduler, timeout=_CONNECT_SECONDS)
        except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
            raise ClusterError(
                "no scheduler answers",
                where=scheduler,
                got=str(error) or type(error).__name__,
                hint="Is `dask scheduler` running there?",
            ) from None
        with client:
            _await_workers(client, scheduler)
            yield client
    else:
        with _from_factory(scheduler) as client:
            _await_workers(client, scheduler)
            yield client


def _await_workers(client: Any, scheduler: str) -> None:
    """Without a worker tasks would wait for ever."""
    from distributed import TimeoutError as NoWorkers

    try:
        client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
    except NoWorkers:
        raise ClusterError(
            "the cluster has no worker",
            where=scheduler,
            expected="at least one",
            hint="Start some, such as `dask worker ADDRESS`.",
        ) from None


@contextmanager
def _local_cluster(workers: int | None) -> Iterator[Any]:
    from distributed import LocalCluster

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    cluster: Any = None
    try:
        with _deaf_children():
            cluster = LocalCluster(
                n_workers=workers or os.cpu_count() or 1,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0" if has_dashboard() else None,
                silence_logs=logging.CRITICAL,
            )
        yield cluster
    finally:
        if cluster is not None:
            cluster.close()


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


def has_dashboard() -> bool:
    """Return whether bokeh is there to show Dask's dashboard (the extra ``dashboard``)."""
    return importlib.util.find_spec("bokeh") is not None


def dashboard_link(client: Any) -> str | None:
    """Return the address of the dashboard, if there is one."""
    return str(client.dashboard_link) if has_dashboard() and client.dashboard_link else None


def _check_address(address: str, where: str | None = None) -> None:
    """Dask lets any client run code: other machines are only spoken to under TLS."""
    parts = urlsplit(address)
    if parts.scheme not in ("tcp", "tls") or not parts.hostname:
        expected = "tcp://127.0.0.1:PORT or tls://HOST:PORT"
        raise ClusterError("not a scheduler's address", where=where, got=address, expected=expected)
    try:
        loopback = parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        loopback = False
    if parts.scheme == "tcp" and not loopback:
        raise ClusterError(
            "a scheduler on another machine must use TLS",
            where=where or address,
            got=address if where else None,
            expected=f"tls://{parts.netloc}",
            hint="Anybody who reaches a Dask scheduler can run code on it.",
        )


def _check_tls(address: str) -> None:
    from dask import config

    missing = [key for key in _TLS_SETTINGS if not config.get(key, None)]
    if missing:
        raise ClusterError(
            "Dask has no TLS configuration to talk to this scheduler with",
            where=address,
            got="nothing for " + " and ".join(missing),
            expected="paths of PEM files there (and in distributed.comm.tls.client.key, if the key has its own)",
            hint="Set them in a YAML file in ~/.config/dask, or as DASK_DISTRIBUTED__COMM__TLS__CA_FILE and so on.",
        )


@contextmanager
def _from_factory(path: str) -> Iterator[Any]:
    from distributed import Client

    module, _, name = path.partition(":")
    if not module or not name:
        raise ClusterError("not a scheduler", got=repr(path), expected="local, an address, or package.module:factory")
    made: Any = None
    try:
        made = getattr(importlib.import_module(module), name)()
        client = made if isinstance(made, Client) else Client(made, timeout=_CONNECT_SECONDS)
    except Exception as error:
        _close(made)
        raise ClusterError(
            "the cluster's factory does not work",
            where=path,
            got=f"{type(error).__name__}: {error}",
            expected="package.module:factory, a function that returns a Dask cluster or client",
        ) from error
    try:
        with client:
            address = str(client.scheduler.address)
            if not address.startswith("inproc://"):
                _check_address(address, path)
            yield client
    finally:
        _close(made)


def _close(made: Any) -> None:
    close = getattr(made, "close", None)
    if close is not None:
        close()
