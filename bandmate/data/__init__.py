"""Tracks of aligned stems: read, rendered from MIDI, cut into windows, stored as tokens."""
