"""Building blocks with streaming state: causal convolution, causal spectra, the transformer."""
