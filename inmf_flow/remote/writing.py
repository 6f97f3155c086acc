"""Creating objects only where there are none, on servers that can refuse to replace one and on those that cannot."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING

from inmf_flow.remote import client

if TYPE_CHECKING:
    from inmf_flow.remote.path import RemotePath

logger = logging.getLogger("inmf_flow.remote")

#: What names of objects that are only there for a moment begin with.
PROBE_MARK = ".inmf-tmp-"
_answers: dict[tuple[str, str], bool] = {}


def honours_conditions(path: RemotePath) -> bool:
    """Return whether the server refuses to replace an object that is to be new; asked once a process, by trying it.

    Where it does not, that is logged once as a warning.
    """
    server = (client.endpoint(), path.bucket)
    if server not in _answers:
        _answers[server] = _try_out(path)
        if not _answers[server]:
            logger.warning(
                "%s does not honour If-None-Match on bucket %s: nothing there can be created by one writer alone, "
                "so let only one run use a folder at a time",
                *server,
            )
    return _answers[server]


def _try_out(path: RemotePath) -> bool:
    probe = f"{path.parent.key}/{PROBE_MARK}{secrets.token_hex(6)}-probe".lstrip("/")
    try:
        client.write(path.bucket, probe, b"first", exclusive=True)
        try:
            client.write(path.bucket, probe, b"second", exclusive=True)
        except FileExistsError:
            return True
        return False
    except (FileNotFoundError, PermissionError, ConnectionError):
        raise
    except OSError as error:
        # "Not implemented", in one of several spellings.
        logger.debug("a conditional request was refused: %s", error)
        return False
    finally:
        client.delete(path.bucket, [probe])


def create(path: RemotePath, data: bytes) -> bool:
    """Put an object in place unless there is one; return whether this was done.

    On a server that does not honour the condition, two that do so in the same moment may both be told yes.
    """
    if not honours_conditions(path):
        try:
            client.head(path.bucket, path.key)
        except FileNotFoundError:
            client.write(path.bucket, path.key, data)
            return True
        return False
    try:
        client.write(path.bucket, path.key, data, exclusive=True)
    except FileExistsError:
        return False
    return True
