"""What ``bandmate sweep`` does, one file each."""
