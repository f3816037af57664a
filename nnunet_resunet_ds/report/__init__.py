"""Write one self-contained HTML file about a cohort: figures, a table, and a viewer of every case."""

from nnunet_resunet_ds.report.report_settings import ReportSettings
from nnunet_resunet_ds.report.write_report import write_report

__all__ = ["ReportSettings", "write_report"]
