"""What SLURM knows of this project's jobs: which live, how they ended. Its client programs are asked; nothing is kept."""
