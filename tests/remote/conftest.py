"""Object stores that others wrote, on this machine: moto, which honours conditions, and rclone, which does not."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from inmf_flow.remote import RemotePath

BUCKET = "corpora"
_BIN = Path(sys.executable).parent
_START_SECONDS = 60


class Server:
    """A process that speaks S3."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.port = _free_port()
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "data" / BUCKET).mkdir(parents=True)
        self.start()

    @property
    def environment(self) -> dict[str, str]:
        """What a user sets to reach it."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "INMF_S3_PATIENCE": "2",
        }

    def start(self) -> None:
        """Start it on its port and wait until it answers."""
        address = f"127.0.0.1:{self.port}"
        if self.name == "moto":
            command = [_BIN / "moto_server", "-H", "127.0.0.1", "-p", str(self.port)]
        else:
            command = [_BIN / "rclone", "serve", "s3", "--addr", address, "--auth-key", "key,secret", "data"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                list(map(str, command)), cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            except OSError:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < end
                time.sleep(0.05)
        if self.name == "moto":
            # Nobody asks whose request it is.
            urllib.request.urlopen(urllib.request.Request(f"http://{address}/{BUCKET}", method="PUT")).close()

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it; what moto holds is gone then."""
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait()

    def pause(self) -> None:
        """Let it answer nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it answer again."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def requests(self) -> Counter[str]:
        """Return how many requests of each kind moto has answered so far."""
        text = (self.folder / "log").read_text(errors="replace")
        found: Counter[str] = Counter()
        for method, target in re.findall(r'"(GET|PUT|HEAD|POST|DELETE) (\S+)', text):
            found["LIST" if method == "GET" and "list-type=" in target else method] += 1
        return found


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _serving(name: str, factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(name, factory.mktemp(name))
    try:
        yield server
    finally:
        server.go_on()
        server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def _moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from _serving("moto", tmp_path_factory)


@pytest.fixture(scope="session")
def _rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from _serving("rclone", tmp_path_factory)


def _reached(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture
def moto(_moto: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server that honours conditions, as the environment names it."""
    return _reached(_moto, monkeypatch)


@pytest.fixture
def rclone(_rclone: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server that keeps objects as files, honours no conditions and gives no ranges."""
    return _reached(_rclone, monkeypatch)


@pytest.fixture(params=["moto", "rclone"])
def server(request: pytest.FixtureRequest) -> Server:
    """Each of them."""
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that a test may stop."""
    for server in _serving("rclone", tmp_path_factory):
        yield _reached(server, monkeypatch)


def _place(request: pytest.FixtureRequest) -> RemotePath:
    name = re.sub(r"\W", "-", request.node.name)
    return RemotePath(f"s3://{BUCKET}/{name}")


@pytest.fixture
def place(server: Server, request: pytest.FixtureRequest) -> RemotePath:
    """A prefix that no other test uses, on each of the servers."""
    return _place(request)


@pytest.fixture
def moto_place(moto: Server, request: pytest.FixtureRequest) -> RemotePath:
    """A prefix that no other test uses, on moto alone."""
    return _place(request)


@pytest.fixture(scope="session")
def threads() -> Iterator[str]:
    """The scheduler to name for a cluster of one thread in this process."""
    from distributed import Client, LocalCluster

    module = ModuleType("one_thread_of_remote")
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster:
        module.connect = lambda: Client(cluster)  # type: ignore[attr-defined]
        sys.modules[module.__name__] = module
        yield f"{module.__name__}:connect"
        del sys.modules[module.__name__]


def tree(folder: Any) -> dict[str, bytes]:
    """Return the content of all files of a folder by their names."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
