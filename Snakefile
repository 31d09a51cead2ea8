"""The workflow, from the root of the repository. Other workflows import workflow/Snakefile: docs/import.md."""

# As `include:`, but with the target of what is included.
workflow.include("workflow/Snakefile", overwrite_default_target=True)
