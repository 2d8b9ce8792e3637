"""Networks that listen, for measuring only: what a model plays is never trained against them."""
