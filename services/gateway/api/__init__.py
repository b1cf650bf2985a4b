"""HTTP in: the edge itself, its route table, its own pages."""
