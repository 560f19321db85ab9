"""Frozen visual representations for robot policies."""
