"""The listening study (paper A.6): pages of blind pairs, their answers, their statistics."""
