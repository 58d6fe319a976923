"""Pictures and pages: contact sheets, plots, the page of a cohort. Knows no index and no model."""

from echosearch.pictures.cohort_page import (
    pictures as pictures,
    render_report as render_report,
    write_report as write_report,
)
from echosearch.pictures.contact_sheet import write_contact_sheet as write_contact_sheet
from echosearch.pictures.plots import draw_evaluation as draw_evaluation, plot_sweeps as plot_sweeps, save as save
