from .cohort_page import pictures as pictures, render_page as render_page, write_page as write_page
from .contact_sheet import tiles as tiles, write_contact_sheet as write_contact_sheet
from .plots import draw_evaluation as draw_evaluation, plot_sweeps as plot_sweeps, save as save
