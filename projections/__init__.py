"""Projections that come with the runner: ``generic`` works on any log as it is, ``ledger`` is the demo's."""
