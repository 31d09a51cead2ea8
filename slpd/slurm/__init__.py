"""What SLURM knows of this project's jobs: which live, how they ended. Its clients are asked; nothing is kept."""
