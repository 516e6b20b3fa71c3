"""The report: one page, tables, pictures and raw data of one or several results files.

series     the numbers of every set and operating point
compare    int8 beside fp32, ours beside the alternatives
limits     parts beside what the machine can do
story      what the numbers say, in sentences
content    all of it collected; what follows only gives it a form
tables, markdown, csvs, pictures, charts, page
write      all files of a report, or none
"""

from edge_moe.benchmarks.report.tables import header, point_row
from edge_moe.benchmarks.report.write import write_report

__all__ = ["header", "point_row", "write_report"]
