"""Measures of what was played: arrays in, numbers out. What they are run on is :mod:`bandmate.sweep`."""
