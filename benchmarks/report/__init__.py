"""The report: one page, tables, pictures and raw data of one or several results files.

series, compare: the numbers; charts, tables, rows: what is drawn and listed, as data; story, words: sentences
sustained: all of these, of predictions without a pause
sections: all of it collected, in the order and with the notes of prose.j2; pictures, write: what draws and writes it
"""

from edge_moe.benchmarks.report.tables import header, point_row
from edge_moe.benchmarks.report.write import write_report

__all__ = ["header", "point_row", "write_report"]
