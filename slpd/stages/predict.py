"""Predict slides by the heads of a finished experiment (no rule; predict_slides is one). Research use only.

The stages that made the experiment's region vectors run again on these slides, each as its own command, with the
settings on the heads' card. Their files stay in a folder of their own: a repeat finds its work done.
"""

import argparse
import csv
import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from slpd.artifacts.atomic import write_text
from slpd.artifacts.evaluation.trained_heads import HeadCard, read_trained_heads, refuse_other_encoder
from slpd.artifacts.runs.run_manifest import read_runs
from slpd.artifacts.slides.sheet import COLUMNS, SheetRow, read_sheet, starts_from_tokens
from slpd.errors import UserError
from slpd.layout import Layout, results_of
from slpd.settings.jobs import Jobs
from slpd.settings.slides import Manifest
from slpd.versions import RESULT_VERSIONS

log = logging.getLogger(__name__)

COHORT = "slides"  # what the slides are called among their own files
THREADS = "2"  # slides at a time
HEADS = "heads.safetensors"
# Sources of region vectors that can be repeated on another slide.
VECTORS = ("training", "pretrained", "random", "encoder_of", "token_mean")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--experiment", required=True, help="name of the finished experiment, in results/")
    parser.add_argument("--task", required=True, help="name of the task")
    parser.add_argument("--variant", default="*", help="whose region vectors; needed where the task has several")
    parser.add_argument("--head", default="*", help="name of the head; needed where the task has several")
    parser.add_argument("--encoder", type=Path, help="weights of the region encoder, where they were moved")
    parser.add_argument("--mpp", type=float, help="µm per pixel of the slides, where their files do not state it")
    parser.add_argument("--out", type=Path, help="folder to write (default: predictions/<experiment>-<task>)")
    parser.add_argument("slides", nargs="+", type=Path, help="slide files; or files of their patch tokens")


def run(args: argparse.Namespace) -> int:
    """Run the stages from slides to predictions; the status of the first that fails."""
    results = Layout(results_of(args.experiment))
    heads = find_heads(results, args.task, args.variant, args.head)
    _, card = read_trained_heads(heads)
    encoder = args.encoder or (Path(card.encoder) if card.encoder else None)
    refuse_unrepeatable(heads, card, encoder)
    out = args.out or Path(f"predictions/{args.experiment}-{args.task}")
    layout = Layout(out.with_name(f"{out.name}.work"))
    sheet = write_sheet(layout.cohort(COHORT) / "sheet.csv", args.slides, args.mpp)
    stages = [
        *token_stages(layout, card, sheet, jobs_of(results)),
        vector_stage(layout, card, encoder),
        prediction_stage(layout, heads, encoder, sheet, out),
    ]
    for stage in stages:
        log.info("%s", stage[0])
        if status := subprocess.run([sys.executable, "-m", "slpd", *stage], check=False).returncode:
            return status  # it has said why
    log.info("%s/predictions.csv; research use only. %s keeps masks and tokens", out, layout.results)
    return 0


def find_heads(results: Layout, task: str, variant: str, head: str) -> Path:
    """The one file of heads that is meant.

    Raises:
        UserError: there is none, or there are several.
    """
    files = sorted(results.task(task).glob(f"{variant}/{head}/{HEADS}"))
    if len(files) == 1:
        return files[0]
    every = sorted(results.results.glob(f"tasks/*/*/*/{HEADS}"))
    shown = "; ".join("--task {} --variant {} --head {}".format(*file.parts[-4:-1]) for file in files or every)
    raise UserError(
        f"{results.results}: {len(files)} trained heads fit --task {task} --variant {variant} --head {head}; there are"
        f" {shown or 'none at all: run the experiment, from the folder that results/ is in'}"
    )


def refuse_unrepeatable(heads: Path, card: HeadCard, encoder: Path | None) -> None:
    """Refuse heads whose region vectors cannot be made of another slide, before any work."""
    if card.recipe.source not in VECTORS:
        raise UserError(
            f"heads {heads}: variant {card.recipe.variant} has vectors by its key {card.recipe.source}, which are no"
            " region vectors that are made here; choose another variant"
        )
    if encoder and not encoder.is_file():
        raise UserError(f"heads {heads}: no region encoder {encoder}; say with --encoder where it is")
    refuse_other_encoder(heads, card, encoder)


def write_sheet(path: Path, slides: Sequence[Path], mpp: float | None) -> Path:
    """A sheet of the slides, each a patient of its own; checked.

    Raises:
        UserError: a file is missing, a name is no id, or two are the same.
    """
    for slide in slides:
        if not slide.exists():
            raise UserError(f"slide {slide}: no such file or folder; correct the path")
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([slide.stem, slide.resolve(), slide.stem, mpp or ""] for slide in slides)
    write_text(path, text.getvalue())
    read_sheet(path)
    return path


def jobs_of(results: Layout) -> Jobs:
    """How jobs work, as the experiment's last run had it.

    Raises:
        UserError: there is no record of a run.
    """
    runs = read_runs(results.results)
    if not runs:
        raise UserError(f"{results.results}/runs: no record of a run; let the experiment run to its end first")
    return Jobs.model_validate(runs[-1].config["jobs"])


def token_stages(layout: Layout, card: HeadCard, sheet: Path, jobs: Jobs) -> list[list[str]]:
    """The commands from slides, or from token files, to a manifest.

    Raises:
        UserError: slides cannot be encoded here as the heads' cohort was.
    """
    rows, recipe, folder = read_sheet(sheet), card.recipe, layout.cohort(COHORT)
    if card.tokens.encoder_sha256 is None and not starts_from_tokens(rows):
        raise UserError(
            f"slide {rows[0].slide}: the heads' cohort {recipe.cohort} had tokens that were made elsewhere, so slides"
            " cannot be encoded as it was; give files of tokens that were made in the same way"
        )
    tokens = ["--tokens-dir", f"{folder}/tokens"]
    if starts_from_tokens(rows):
        records = str(layout.imported(COHORT))
        grid, patch_px = recipe.regions.region_px // recipe.patch_encoder.patch_px, recipe.patch_encoder.patch_px
        words = ["--sheet", sheet, "--grid", grid, "--patch-px", patch_px, "--mpp", recipe.regions.mpp]
        words += ["--min-tissue", recipe.regions.min_tissue, "--version", RESULT_VERSIONS["import_tokens"], *tokens]
        stages = [["import_tokens", *map(str, words), "--out", records]]
    else:
        records = str(layout.batch("tokens", COHORT, 0))
        stages = slide_stages(layout, card, rows, jobs, [*tokens, "--out", records])
    settings = Manifest(max_failed_fraction=1, min_sharpness=recipe.min_sharpness).model_dump_json()
    manifest = ["--batches", records, "--settings", settings, *tokens]
    manifest += ["--used", str(layout.used(COHORT)), "--out", str(layout.manifest(COHORT))]
    return [*stages, ["cohort_manifest", *manifest]]


def slide_stages(
    layout: Layout, card: HeadCard, rows: Sequence[SheetRow], jobs: Jobs, tokens: Sequence[str]
) -> list[list[str]]:
    """The commands from slides to tokens."""
    recipe, folder = card.recipe, layout.cohort(COHORT)
    slides = {row.slide: {"path": row.path, "n_bytes": row.n_bytes, "mpp": row.mpp, "mask": row.mask} for row in rows}

    def stage(name: str, place: str, settings: str, *words: str) -> list[str]:
        version = ["--version", str(RESULT_VERSIONS[name]), "--threads", THREADS]
        written = ["--folder", f"{folder}/{place}", "--out", str(layout.batch(place, COHORT, 0))]
        return [name, *words, "--settings", settings, *version, *written]

    tissue, regions = (str(layout.batch(place, COHORT, 0)) for place in ("tissue", "regions"))
    encoded = [
        "--records",
        regions,
        "--regions",
        f"{folder}/regions",
        "--version",
        str(RESULT_VERSIONS["encode_patches"]),
    ]
    settings = ["--settings", recipe.patch_encoder.model_dump_json(), "--reading", recipe.reading.model_dump_json()]
    return [
        stage("segment_tissue", "tissue", recipe.tissue.model_dump_json(), "--slides", json.dumps(slides)),
        stage(
            *("tile_regions", "regions", recipe.regions.model_dump_json()),
            *("--records", tissue, "--tissue", f"{folder}/tissue"),
        ),
        ["encode_patches", *encoded, *settings, "--jobs", jobs.model_dump_json(), *tokens],
    ]


def vector_stage(layout: Layout, card: HeadCard, encoder: Path | None) -> list[str]:
    """The command from tokens to a bag per slide."""
    words = ["--manifest", str(layout.manifest(COHORT)), "--out", bags_of(layout)]
    if encoder is None:
        return ["pool_tokens", *words]
    elsewhere = card.recipe.source == "pretrained"  # its weights may not say their architecture
    section = ["--encoder", card.recipe.region_encoder.model_dump_json(), "--sha256", card.encoder_sha256]
    return ["embed_bags", *words, "--teacher", str(encoder), *(section if elsewhere else [])]


def prediction_stage(layout: Layout, heads: Path, encoder: Path | None, sheet: Path, out: Path) -> list[str]:
    """The command from bags to predictions."""
    made_by = ["--encoder", str(encoder)] if encoder else []
    slides = ["--manifest", str(layout.manifest(COHORT)), "--sheet", str(sheet)]
    tissue = ["--tissue", str(layout.cohort(COHORT) / "tissue")]
    return [
        *("predict_slides", "--heads", str(heads), "--bags", bags_of(layout)),
        *(*made_by, *slides, *tissue, "--out", str(out)),
    ]


def bags_of(layout: Layout) -> str:
    """Where the slides' bags are."""
    return str(layout.cohort(COHORT) / "bags.h5")
