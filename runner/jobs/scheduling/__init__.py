"""Batch projection by the clock: which entry of [[schedule]] is due (``times``, ``plan``), what became of it
(``state``), one run of it (``carry_out`` in a ``child``, ``watched``), and the process around it all (``service``).
"""
