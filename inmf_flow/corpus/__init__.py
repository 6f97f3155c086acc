"""Which recordings there are, and what they are called."""

from inmf_flow.corpus.find import Recording, find_files, name_recordings

__all__ = ["Recording", "find_files", "name_recordings"]
