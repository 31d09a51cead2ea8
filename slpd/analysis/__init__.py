"""What the trained encoder, its prototypes and the slide graph have come to hold: figures of the report."""
