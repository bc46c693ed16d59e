"""The fixture of these tests."""

from author_modules import author

__all__ = ["author"]
