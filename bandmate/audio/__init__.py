"""Sound as arrays: files in and out, sample rates, loudness, mixing. Mono float32 [S], full scale 1.0."""
