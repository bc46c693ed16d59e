"""Rebuild: new versions of read models from the first event, and what is looked at before they switch."""
