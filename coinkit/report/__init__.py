"""What was learned and what was forgotten: matrices in, metrics, tables, figures and a page out. Imports no torch."""

from coinkit.report.analysis import Analysis, analyze
from coinkit.report.matrix_io import read_matrix, write_matrix
from coinkit.report.writer import write_report

__all__ = ['Analysis', 'analyze', 'read_matrix', 'write_matrix', 'write_report']
