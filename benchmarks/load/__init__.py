"""A load generator for HTTP on loopback, and the servers it asks."""
