"""Scores of separated audio against its references, and against doing nothing."""

from inmf_flow import registry
from inmf_flow.evaluate.bss_eval import BSS_EVAL_METRICS
from inmf_flow.evaluate.folders import Evaluation, Mixture, evaluate_folders
from inmf_flow.evaluate.intelligibility import STOI
from inmf_flow.evaluate.items import MetricRow, evaluate_item
from inmf_flow.evaluate.metric import LIMIT_DB, Metric, get_metrics
from inmf_flow.evaluate.scale_invariant import SI_SDR, si_sdr
from inmf_flow.evaluate.summary import summarize
from inmf_flow.evaluate.table import iterate_metrics_csv, metrics_csv_lines, read_metrics_csv, write_metrics_csv

__all__ = [
    "LIMIT_DB",
    "Evaluation",
    "Metric",
    "MetricRow",
    "Mixture",
    "evaluate_folders",
    "evaluate_item",
    "get_metrics",
    "iterate_metrics_csv",
    "metrics_csv_lines",
    "read_metrics_csv",
    "si_sdr",
    "summarize",
    "write_metrics_csv",
]

for _metric in (SI_SDR, *BSS_EVAL_METRICS, STOI):
    registry.metrics.register(_metric.name, _metric)
