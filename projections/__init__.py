"""Projections that come with the runner: ``generic`` and ``untimed`` work on any log, ``ledger`` is the demo's."""
