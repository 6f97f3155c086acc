"""Which recordings there are, what they are called, what is known of them, and which parts of them are meant."""

from inmf_flow.audio import SegmentReader
from inmf_flow.corpus.arrivals import Arrivals
from inmf_flow.corpus.find import find_files, find_recordings, read_manifest
from inmf_flow.corpus.manifest import Manifest, ManifestError, is_manifest
from inmf_flow.corpus.metadata import describe_recording, metadata_columns, write_manifest
from inmf_flow.corpus.naming import name_recordings
from inmf_flow.corpus.quarantine import Quarantined, probe, read_quarantine, write_quarantine
from inmf_flow.corpus.reading import open_recording, read_recording
from inmf_flow.corpus.recording import Recording, Scalar, whole_name
from inmf_flow.corpus.segments import Segments, cut_segments

__all__ = [
    "Arrivals",
    "Manifest",
    "ManifestError",
    "Quarantined",
    "Recording",
    "Scalar",
    "SegmentReader",
    "Segments",
    "cut_segments",
    "describe_recording",
    "find_files",
    "find_recordings",
    "is_manifest",
    "metadata_columns",
    "name_recordings",
    "open_recording",
    "probe",
    "read_manifest",
    "read_quarantine",
    "read_recording",
    "whole_name",
    "write_manifest",
    "write_quarantine",
]
