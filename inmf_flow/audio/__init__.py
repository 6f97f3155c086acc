"""Reading audio in blocks, resampling it, and writing it whole or not at all."""

from inmf_flow.audio.arrays import as_audio, fit_length
from inmf_flow.audio.info import AUDIO_SUFFIXES, AudioInfo, audio_info
from inmf_flow.audio.partial import PartialWavWriter
from inmf_flow.audio.pcm import SAMPLE_FORMATS, PcmFormat, PcmReader
from inmf_flow.audio.reader import AudioReader, read_audio
from inmf_flow.audio.resampling import StreamResampler, resample, resampled_length
from inmf_flow.audio.segments import SegmentReader, can_seek, open_audio, segment_fault
from inmf_flow.audio.sinks import ALL_SOURCES, FileSink, PipeSink, Sink, Sinks
from inmf_flow.audio.writer import WavWriter, write_audio

__all__ = [
    "ALL_SOURCES",
    "AUDIO_SUFFIXES",
    "SAMPLE_FORMATS",
    "AudioInfo",
    "AudioReader",
    "FileSink",
    "PartialWavWriter",
    "PcmFormat",
    "PcmReader",
    "PipeSink",
    "SegmentReader",
    "Sink",
    "Sinks",
    "StreamResampler",
    "WavWriter",
    "as_audio",
    "audio_info",
    "can_seek",
    "fit_length",
    "open_audio",
    "read_audio",
    "resample",
    "resampled_length",
    "segment_fault",
    "write_audio",
]
