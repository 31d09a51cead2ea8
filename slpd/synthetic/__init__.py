"""Synthetic cohorts: slides drawn from scratch, or laid out of tiles, and the plan of who gets which."""
