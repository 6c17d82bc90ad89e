"""One file a format: each reads what is there into a `Table`, and says where a fault is."""
