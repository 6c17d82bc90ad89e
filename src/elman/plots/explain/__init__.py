"""Pictures of a network laid open; `elman.explain`'s results draw themselves with them."""
