"""Explaining a wrong step: what the mistake is, where it stands, and the edit that mends it."""

from compare.explain.explanation import explain

__all__ = ["explain"]
