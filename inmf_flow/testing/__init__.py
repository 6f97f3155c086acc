"""Test tools for authors of plugins; needs pytest.

Subclass `TransformConformance` to prove a transform::

    from inmf_flow.testing import TransformConformance
    from my_plugin import MyTransform

    class TestMyTransform(TransformConformance):
        transform = MyTransform
"""

from inmf_flow.testing.conformance import TransformConformance
from inmf_flow.testing.measures import join_in_time, snr_db
from inmf_flow.testing.signals import SIGNALS, clicks, music, noise, silence, speech, tones

__all__ = [
    "SIGNALS",
    "TransformConformance",
    "clicks",
    "join_in_time",
    "music",
    "noise",
    "silence",
    "snr_db",
    "speech",
    "tones",
]
