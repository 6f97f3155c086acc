"""A run's folder as one self-contained HTML page: pictures, players, metrics and learned parts."""

from inmf_flow.report.page import write_report

__all__ = ["write_report"]
