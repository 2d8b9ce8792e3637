"""Models that turn what was heard into codes to be played."""
