"""Requests to object stores, with bounded retries, and their failures as the `OSError` that a file would give.

Credentials, endpoint and region are what the usual ``AWS_*`` variables say.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, NoReturn

from inmf_flow.errors import ArgumentError

#: Seconds for which a request that fails is tried again.
PATIENCE = "INMF_S3_PATIENCE"
_PATIENCE_SECONDS = 60.0
# Of one attempt, its body included: 8 MiB at 140 kB/s.
_ATTEMPT_SECONDS = 60
_CONNECT_SECONDS = 5
_UPLOAD_BYTES = 8 << 20
# Of the environment's variables, after AWS_, those that say how to connect.
_CLIENT_OPTIONS = (
    "allow_http",
    "allow_invalid_certificates",
    "connect_timeout",
    "proxy_ca_certificate",
    "proxy_excludes",
    "proxy_url",
    "timeout",
)


@dataclass(frozen=True)
class RemoteStatus:
    """What an object store says of an object, by the names of `os.stat_result`.

    Attributes
    ----------
    st_size
        Bytes.
    seconds
        When it was written by the server's clock, whole seconds since 1970.
    etag
        The server's tag of the content, which differs between contents.
    """

    st_size: int
    seconds: int
    etag: str

    @property
    def st_mtime(self) -> float:
        """When it was written, seconds since 1970."""
        return float(self.seconds)

    @property
    def st_mtime_ns(self) -> int:
        """When it was written, with nanoseconds that are made from the tag: with the size they tell contents apart.

        Servers give whole seconds, within which an object may be written twice.
        """
        fraction = int.from_bytes(blake2b(self.etag.encode(), digest_size=6).digest(), "little") % 1_000_000_000
        return self.seconds * 1_000_000_000 + fraction

    @property
    def st_ino(self) -> int:
        """A number that differs between contents."""
        return int.from_bytes(blake2b(self.etag.encode(), digest_size=7).digest(), "little")

    @property
    def st_mode(self) -> int:
        """That of a plain file."""
        return stat.S_IFREG | 0o644


class NoRangesError(OSError):
    """The server answers requests for a part of an object in a way that cannot be told from the whole."""


def url_of(bucket: str, key: str) -> str:
    """Return the name of an object."""
    return f"s3://{bucket}/{key}" if key else f"s3://{bucket}"


def endpoint() -> str:
    """Return what messages call the server."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "AWS"


def _obstore(url: str) -> Any:
    try:
        import obstore
    except ModuleNotFoundError:
        raise ArgumentError(
            "s3:// paths need the package obstore, which is not installed",
            where=url,
            hint="pip install 'inmf-flow[s3]'",
        ) from None
    return obstore


def patience() -> float:
    """Return for how many seconds a request that fails is tried again."""
    given = os.environ.get(PATIENCE, "")
    try:
        seconds = float(given) if given else _PATIENCE_SECONDS
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86400:
        raise ArgumentError("this is no number of seconds", where=PATIENCE, got=repr(given), expected="0 to 86400")
    return seconds


def bucket_store(bucket: str) -> Any:
    """Return obstore's store of a bucket, as the environment describes it."""
    _obstore(url_of(bucket, ""))
    environment = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))
    # A forked process must not share its parent's connections.
    return _bucket_store(bucket, os.getpid(), environment, patience())


@lru_cache(maxsize=16)
def _bucket_store(bucket: str, _process: int, environment: tuple[tuple[str, str], ...], seconds: float) -> Any:
    from obstore.store import S3Store

    # Options that are given hide those of the environment.
    said = {name.removeprefix("AWS_").lower(): value for name, value in environment}
    options: dict[str, Any] = {
        "timeout": timedelta(seconds=_ATTEMPT_SECONDS),
        "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
        **{name: said[name] for name in _CLIENT_OPTIONS if name in said},
    }
    return S3Store(
        bucket,
        client_options=options,  # type: ignore[arg-type]
        retry_config={
            "max_retries": 30,
            "retry_timeout": timedelta(seconds=seconds),
            "backoff": {
                "init_backoff": timedelta(seconds=0.1),
                "max_backoff": timedelta(seconds=5),
                "base": 2,
            },
        },
    )


@contextmanager
def _told(bucket: str, key: str) -> Iterator[None]:
    """Turn what obstore raises into what a file system would."""
    try:
        yield
    except OSError as error:
        _raise(error, bucket, key)
    except Exception as error:
        if not type(error).__module__.startswith("obstore"):
            raise
        _raise(error, bucket, key)


def _raise(error: Exception, bucket: str, key: str) -> NoReturn:
    # Without the chain: obstore's text is a page.
    raise _as_os_error(error, str(error), type(error).__name__, url_of(bucket, key)) from None


def _as_os_error(error: Exception, text: str, kind: str, url: str) -> OSError:
    if "169.254.169.254" in text:
        what = "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_SKIP_SIGNATURE=true)"
        return PermissionError(errno.EACCES, what, url)
    if "NoSuchBucket" in text:
        return FileNotFoundError(errno.ENOENT, f"there is no such bucket at {endpoint()}", url)
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), url)
    if kind == "AlreadyExistsError":
        return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), url)
    if kind == "PreconditionError":
        return OSError(errno.ESTALE, "the object was replaced meanwhile", url)
    if kind in ("PermissionDeniedError", "UnauthenticatedError"):
        code = re.search(r"<Code>(\w+)</Code>", text)
        why = f" ({code[1]})" if code else ""
        return PermissionError(errno.EACCES, f"{endpoint()} refuses access{why}: check the AWS_* variables", url)
    if "NotPartial" in text:
        return NoRangesError(errno.EIO, "the server does not give parts of objects", url)
    if "builder error" in text and endpoint().startswith("http:"):
        return OSError(errno.EINVAL, f"{endpoint()} is not encrypted: set AWS_ALLOW_HTTP=true to use it", url)
    if re.search(r"HTTP error|timed out|operation timed|connection|status code: 5\d\d", text):
        return ConnectionError(errno.EHOSTDOWN, f"{endpoint()} cannot be reached, or fails", url)
    return OSError(errno.EIO, text.splitlines()[0][:300] if text else kind, url)


def _status(meta: Any) -> RemoteStatus:
    modified: datetime = meta["last_modified"]
    # Some servers quote tags in one answer and not in another.
    return RemoteStatus(int(meta["size"]), int(modified.timestamp()), str(meta["e_tag"] or "").strip('"'))


def head(bucket: str, key: str) -> RemoteStatus:
    """Return what is known of an object (one request)."""
    if not key:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), url_of(bucket, key))
    store = bucket_store(bucket)
    with _told(bucket, key):
        return _status(_obstore(key).head(store, key))


def read(bucket: str, key: str) -> bytes:
    """Return an object's content."""
    store = bucket_store(bucket)
    with _told(bucket, key):
        return bytes(_obstore(key).get(store, key).bytes())


def chunks(bucket: str, key: str) -> Iterator[bytes]:
    """Yield an object's content piece by piece (one request)."""
    store = bucket_store(bucket)
    with _told(bucket, key):
        for chunk in _obstore(key).get(store, key).stream(min_chunk_size=1 << 20):
            yield bytes(chunk)


def read_range(bucket: str, key: str, start: int, stop: int, etag: str | None = None) -> tuple[bytes, RemoteStatus]:
    """Return bytes of an object, fewer where it ends before, and what is known of it.

    Raises
    ------
    NoRangesError
        When the server cannot be asked for a part.
    OSError
        Also when the object is no longer the one with the tag.
    """
    store = bucket_store(bucket)
    options: dict[str, Any] = {"range": (start, stop)}
    if etag:
        options["if_match"] = f'"{etag}"'
    with _told(bucket, key):
        result = _obstore(key).get(store, key, options=options)
        return bytes(result.bytes()), _status(result.meta)


def write(bucket: str, key: str, data: bytes, *, exclusive: bool = False, replacing: str | None = None) -> str:
    """Put an object in place, whole, and return its tag.

    Parameters
    ----------
    exclusive
        Only where there is none, if the server honours ``If-None-Match``; else `FileExistsError`.
    replacing
        Only where the one that is there has this tag, if the server honours ``If-Match``.
    """
    store = bucket_store(bucket)
    options: dict[str, Any] = {}
    if exclusive:
        options["mode"] = "create"
    elif replacing is not None:
        options["mode"] = {"e_tag": f'"{replacing}"'}
    with _told(bucket, key):
        put = _obstore(key).put(store, key, data, **options)
        return str(put["e_tag"] or "").strip('"')


def upload(bucket: str, key: str, path: Path) -> None:
    """Put a local file's content in place, in parts where it is large; it appears when all have arrived."""
    store = bucket_store(bucket)
    with _told(bucket, key):
        _obstore(key).put(store, key, path, chunk_size=_UPLOAD_BYTES, max_concurrency=4)


def delete(bucket: str, keys: list[str]) -> None:
    """Remove objects, a thousand a request; those that are not there are no error."""
    store = bucket_store(bucket)
    if keys:
        with _told(bucket, keys[0]):
            _obstore(keys[0]).delete(store, keys if len(keys) > 1 else keys[0])


def objects(bucket: str, prefix: str) -> Iterator[tuple[str, RemoteStatus]]:
    """Yield the keys below a folder, and what is known of each: a request for each thousand."""
    store = bucket_store(bucket)
    with _told(bucket, prefix):
        for page in _obstore(prefix).list(store, prefix or None, chunk_size=1000):
            for meta in page:
                # Consoles make an empty object to show a folder by.
                if str(meta["path"]) != prefix:
                    yield str(meta["path"]), _status(meta)


def folder(bucket: str, prefix: str) -> tuple[list[str], list[tuple[str, RemoteStatus]]]:
    """Return the folders and the objects right in a folder, by their keys."""
    store = bucket_store(bucket)
    with _told(bucket, prefix):
        found = _obstore(prefix).list_with_delimiter(store, prefix or None)
    return [str(each) for each in found["common_prefixes"]], [
        (str(meta["path"]), _status(meta)) for meta in found["objects"] if str(meta["path"]) != prefix
    ]
