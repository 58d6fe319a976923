"""Cohorts: selections with all that repeats, explains and audits them. Knows no printing.

`names` and `measures` say what a filter speaks of, `selection` decides who is in, `making` writes down all of it
(`cohort`), `compare`, `export`, `report` and `audit` use what was kept.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
