"""Training of codecs and models. Lightning is used here and nowhere else."""
