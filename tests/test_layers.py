"""The layers of the package: imports point down, and light processes stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = [
    {"__main__", "stages"},
    {"run_record"},
    {"report"},
    {
        "training",
        "analysis",
        "evaluation",
        "tables",
        "plots",
        "synthetic",
        "inputs",
        "cohort_check",
        "slide_batches",
        "slide_work",
        "doctor",
    },
    {"method", "models", "pale_ink", "pen", "slurm", "tissue", "wsi"},
    {"artifacts", "geometry", "settings"},
    {"caches", "errors", "launch", "layout", "versions", "workers"},
]
ON_REQUEST = {
    *(
        "check_encoder",
        "make_cohort",
        "export_released",
        "import_hipt",
        "init",
        "schema",
        "doctor",
        "failures",
        "recover",
        "verify",
    )
}
HEAVY = ("torch", "timm", "torchvision", "snakemake")
WITHOUT_TORCH = [
    "segment_tissue",
    "tile_regions",
    "picture_regions",
    "check_cohort",
    "cohort_manifest",
    "join_cohorts",
    "import_vectors",
    "cluster_regions",
    "link_slides",
    "map_prototypes",
    "test_graph",
    "export_encoder",
    "pool_tokens",
    "bag_patches",
    "import_hipt",
    "split_folds",
    "evaluate",
    "make_table",
    "make_report",
    "make_cohort",
]


def layer(part: str) -> int:
    return next(depth for depth, names in enumerate(LAYERS) if part in names)


def imports(path: Path) -> set[str]:
    """Parts of the package that a file imports, anywhere in it."""
    modules = {node.module or "" for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)}
    return {module.split(".")[1] for module in modules if module.startswith("slpd.")}


@pytest.mark.parametrize("path", sorted((ROOT / "slpd/stages").glob("*.py")), ids=lambda p: p.stem)
def test_stages_do_not_import_stages(path: Path) -> None:
    """What two stages share has a home of its own."""
    assert "stages" not in imports(path)


@pytest.mark.parametrize("path", sorted((ROOT / "slpd").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    own = path.relative_to(ROOT / "slpd").parts[0].removesuffix(".py")
    if own == "__init__":
        return
    upward = {part for part in imports(path) if layer(part) < layer(own)}
    assert not upward, f"{path} imports from a layer above its own: {upward}"


def loaded(program: str) -> list[str]:
    """What a fresh interpreter prints, word by word."""
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return run.stdout.split()


def test_stages_without_networks_start_without_torch() -> None:
    """Prints `stage:module` for every heavy module that is there after a stage was imported."""
    program = (
        "import importlib, sys\n"
        f"for stage in {WITHOUT_TORCH!r}:\n"
        "    importlib.import_module('slpd.stages.' + stage)\n"
        f"    print(*[stage + ':' + m for m in {HEAVY!r} if m in sys.modules])"
    )
    assert loaded(program) == []


def test_workflow_start_costs_no_numerics() -> None:
    """Every job on a cluster parses the workflow again."""
    heavy = (*HEAVY, "numpy", "pandas", "sklearn")
    program = (
        "import sys, slpd.inputs, slpd.cohort_check, slpd.layout, slpd.report.sources, slpd.settings.recipe\n"
        f"print(*[m for m in {heavy!r} if m in sys.modules])"
    )
    assert loaded(program) == []


def test_every_stage_has_a_version_a_command_and_a_rule() -> None:
    from slpd.__main__ import STAGES
    from slpd.versions import RESULT_VERSIONS

    rules = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    stages = {path.stem for path in (ROOT / "slpd/stages").glob("*.py")} - {"__init__"}
    assert set(STAGES) == stages
    assert set(RESULT_VERSIONS) == stages - ON_REQUEST
    for stage in RESULT_VERSIONS:
        assert f"rule {stage}:" in rules
        assert f'result_version("{stage}")' in rules
        assert f"exec python -m slpd {stage} " in rules or f"{{resources.nodes}} {stage} " in rules
