"""The rules of generation: the saga, prices, sizes and the outcome policy. Pure."""
