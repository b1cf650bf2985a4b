"""Storage's I/O besides the database: object stores and media work; knows no HTTP, no events."""
