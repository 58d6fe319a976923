"""Cohorts: selections with all that repeats, explains and audits them. Knows no printing.

`names` and `measures` say what a filter speaks of, `selection` decides who is in, `making` writes down all of it
(`cohort`), `compare`, `export`, `report` and `audit` use what was kept.
"""
