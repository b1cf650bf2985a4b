"""Storage's I/O besides the database: object stores and picture work; knows no HTTP, no events."""
