"""Cohorts: selections with all that repeats, explains and audits them. Knows no printing.

`making` applies a definition and writes down all that came of it (`cohort`), `kept` has what an index keeps by name;
`compare`, `export`, `audit` and `sheet` use it, `identifying` takes out what says who somebody is.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
