"""Files that other programs or people write, besides slides and sheets."""
