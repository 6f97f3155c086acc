"""Scores of separated audio against its references, and against doing nothing."""

from inmf_flow import registry
from inmf_flow.evaluate.bss_eval import BSS_EVAL_METRICS
from inmf_flow.evaluate.folders import Evaluation, Mixture, evaluate_folders
from inmf_flow.evaluate.intelligibility import STOI
from inmf_flow.evaluate.items import MetricRow, OracleFunction, evaluate_item
from inmf_flow.evaluate.metric import LIMIT_DB, Metric, get_metrics
from inmf_flow.evaluate.resampling import (
    PairedDifference,
    group_numbers,
    mean_interval,
    median_interval,
    paired_difference,
)
from inmf_flow.evaluate.scale_invariant import SI_SDR, si_sdr
from inmf_flow.evaluate.summary import summarize, summarize_oracles
from inmf_flow.evaluate.table import (
    check_metrics_path,
    iterate_metrics_csv,
    metrics_csv_lines,
    metrics_parquet,
    pyarrow_or_error,
    read_metrics,
    read_metrics_csv,
    write_metrics,
    write_metrics_csv,
)

__all__ = [
    "LIMIT_DB",
    "Evaluation",
    "Metric",
    "MetricRow",
    "Mixture",
    "OracleFunction",
    "PairedDifference",
    "check_metrics_path",
    "evaluate_folders",
    "evaluate_item",
    "get_metrics",
    "group_numbers",
    "iterate_metrics_csv",
    "mean_interval",
    "median_interval",
    "metrics_csv_lines",
    "metrics_parquet",
    "paired_difference",
    "pyarrow_or_error",
    "read_metrics",
    "read_metrics_csv",
    "si_sdr",
    "summarize",
    "summarize_oracles",
    "write_metrics",
    "write_metrics_csv",
]

for _metric in (SI_SDR, *BSS_EVAL_METRICS, STOI):
    registry.metrics.register(_metric.name, _metric)
