from .cohort_page import pictures as pictures, render_report as render_report, write_report as write_report
from .contact_sheet import tiles as tiles, write_contact_sheet as write_contact_sheet
from .plots import draw_evaluation as draw_evaluation, plot_sweeps as plot_sweeps, save as save
