"""Pictures and pages: contact sheets, plots, the page of a cohort. Knows no index and no model."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
