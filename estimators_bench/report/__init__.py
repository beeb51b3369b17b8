"""What the records say: numbers, a table for the terminal, figures, and one HTML page."""
