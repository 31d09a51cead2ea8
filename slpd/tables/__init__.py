"""Tables: what they hold (`content`) and one module per format that writes it."""
