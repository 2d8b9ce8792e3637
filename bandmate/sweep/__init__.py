"""Measurements of whole models: over unseen songs, over the (t_f, k) plane, with their tables and figures."""
