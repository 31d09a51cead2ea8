"""Tables: what they hold (`content`), how it comes together (`assembly`), and one module per format that writes it."""
