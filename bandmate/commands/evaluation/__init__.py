"""The kinds of ``bandmate evaluate`` that are long enough for a file of their own."""
