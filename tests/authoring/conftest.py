"""The fixture that imports an author's module."""

from fixtures_authoring import author

__all__ = ["author"]
