"""Whom a run talks to: anybody who reaches a Dask scheduler can run code on it."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from dask import config
from distributed import Client, LocalCluster

from inmf_flow.errors import ClusterError
from inmf_flow.pipeline.cluster import open_client


class FakeClient(Client):
    """A client of a scheduler somewhere else."""

    def __init__(self, address: str) -> None:
        self.scheduler = SimpleNamespace(address=address)
        self.is_closed = False

    def __del__(self) -> None: ...

    def __enter__(self) -> FakeClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.is_closed = True

    def close(self, *_: object, **__: object) -> None:
        self.is_closed = True

    def wait_for_workers(self, *_: object, **__: object) -> None: ...


@pytest.fixture
def factory(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make a factory of what a function returns."""
    module = ModuleType("lab")
    monkeypatch.setitem(sys.modules, "lab", module)
    return lambda make: setattr(module, "make", make) or "lab:make"


@pytest.mark.parametrize("address", ["tcp://10.0.0.5:8786", "tcp://node7:8786", "ws://node7:8786"])
def test_a_factorys_cluster_on_another_machine_must_use_tls(factory: Any, address: str) -> None:
    client = FakeClient(address)
    with pytest.raises(ClusterError) as caught, open_client(factory(lambda: client), None):
        pass
    assert str(caught.value).startswith("lab:make: ")
    assert address in str(caught.value)
    assert client.is_closed


@pytest.mark.parametrize("address", ["tls://10.0.0.5:8786", "tcp://127.0.0.1:8786", "tcp://[::1]:8786", "inproc://1/2"])
def test_a_factorys_cluster_that_is_safe_is_used(factory: Any, address: str) -> None:
    client = FakeClient(address)
    with open_client(factory(lambda: client), None) as opened:
        assert opened is client
    assert client.is_closed


def test_a_cluster_in_this_process_is_used(factory: Any) -> None:
    made = factory(lambda: LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0"))
    with open_client(made, None) as client:
        assert client.submit(abs, -2).result() == 2


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({}, "distributed.comm.tls.ca-file and distributed.comm.tls.client.cert"),
        ({"distributed.comm.tls.ca-file": "ca.pem"}, "distributed.comm.tls.client.cert"),
    ],
)
def test_tls_without_its_configuration_says_what_is_missing(settings: dict[str, str], missing: str) -> None:
    with (
        config.set(settings),
        pytest.raises(ClusterError, match=rf"no TLS configuration .* got nothing for {missing};"),
        open_client("tls://127.0.0.1:1", None),
    ):
        pass


def test_certificates_that_are_not_there_are_a_clear_error() -> None:
    settings = {"distributed.comm.tls.ca-file": "no.pem", "distributed.comm.tls.client.cert": "no.pem"}
    with config.set(settings), pytest.raises(ClusterError, match="tls://"), open_client("tls://127.0.0.1:1", None):
        pass
