"""Two tables that should hold the same rows, compared in bulk by DuckDB: where they differ, and in which way.

================  ====================================================================================
``model``         what is compared and what is found, as data
``domains``       how values of each kind are made comparable, and when two are equal
``patterns``      the ways in which values differ, as conditions over the two
``find``          the comparison: join by key, cells that differ, each named by the pattern that explains most
================  ====================================================================================

Nothing goes through Python row by row; only counts and a few sample rows leave DuckDB.
"""
