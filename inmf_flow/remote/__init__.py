"""Paths on object stores: ``s3://bucket/prefix`` with the calls of `pathlib.Path` that inmf_flow makes.

obstore is imported when the first request is made, and not before.
"""

from inmf_flow.remote.listing import listed
from inmf_flow.remote.path import RemotePath, as_path, is_remote, join_path
from inmf_flow.remote.stream import RemoteFile

__all__ = ["RemoteFile", "RemotePath", "as_path", "is_remote", "join_path", "listed"]
