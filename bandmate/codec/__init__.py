"""Neural audio codecs: waveform to residual codes and back, causal, with streaming state."""
