"""Compiled loops, by numba. Nothing here is imported before the engine is asked for."""
