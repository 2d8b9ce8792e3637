"""bandmate plays along: it listens to an audio stream and generates an accompaniment aligned with it."""

__version__ = "0.1.0"
