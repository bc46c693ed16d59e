"""Read models in Postgres: tables that are published from the embedded read models' files.

===============  =====================================================================================
``port``         what jobs and tables tell each other: plain data
``tables``       ``PostgresTables``: all of it behind one object
===============  =====================================================================================

Nothing is imported here.
"""
