"""What services promise each other: public events and their envelope. Imports pydantic only."""
