"""Which stages run again after which edit: what must hold, key by key, and docs/reruns.md made from it.

`python tests/rerun_table.py` writes the page. test_reruns.py makes every edit on a finished run and compares.
"""

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, get_args, get_origin

import toy
import yaml
from pydantic import BaseModel
from snakemake.utils import update_config

from slpd.errors import UserError
from slpd.settings.experiment import Experiment
from slpd.settings.load import load_experiment
from slpd.settings.section import nested
from slpd.versions import RESULT_VERSIONS

Config = dict[str, Any]
Edit = Callable[[Config], None]
PAGE = toy.ROOT / "docs/reruns.md"

# Stage -> stages that read what it writes.
READERS = {
    "segment_tissue": ["tile_regions", "make_report"],
    "tile_regions": ["check_cohort", "encode_patches", "picture_regions", "make_report"],
    "picture_regions": ["make_report"],
    "check_cohort": [],  # batches that are encoded do not wait for it
    "encode_patches": ["cohort_manifest"],
    "import_tokens": ["cohort_manifest"],
    "join_cohorts": ["pretrain_dino"],  # of a cohort of cohorts, after their manifests; the config below has none
    "cohort_manifest": [
        *(
            "pretrain_dino",
            "draw_encoder",
            "pool_tokens",
            "bag_patches",
            "import_vectors",
            "split_folds",
            "attend_patches",
            "test_graph",
            "make_report",
        ),
    ],
    "pretrain_dino": ["cluster_regions", "distill_slpd", "make_report"],
    "cluster_regions": ["link_slides", "distill_slpd", "map_prototypes", "make_report"],
    "link_slides": ["distill_slpd", "test_graph", "make_report"],
    "distill_slpd": ["cluster_regions", "collect_iterations"],
    "collect_iterations": [
        *("cluster_regions", "embed_bags", "export_encoder", "attend_patches", "map_prototypes", "make_report"),
    ],
    "attend_patches": ["make_report"],
    "map_prototypes": ["make_report"],
    "test_graph": ["make_report"],
    "draw_encoder": ["embed_bags"],
    "embed_bags": ["evaluate", "measure_robustness", "make_report"],
    "pool_tokens": ["evaluate", "measure_robustness"],
    "bag_patches": ["evaluate", "measure_robustness"],
    "import_vectors": ["evaluate", "measure_robustness", "make_table", "make_report"],
    "export_encoder": [],
    "split_folds": ["evaluate", "make_report"],
    "evaluate": ["compare_subgroups", "make_table", "make_report"],
    "predict_slides": [],  # after evaluate, of the cohorts under `predictions`; the config below has none
    "compare_subgroups": ["make_report"],
    "measure_robustness": ["make_report"],
    "make_table": ["make_report"],
    "make_report": [],
}

LEARNED = ["attend_patches", "map_prototypes", "test_graph"]  # of every variant in the report

# Key, or section, of the config -> the stages that read it. The longest name that fits counts.
FIRST: dict[str, list[str]] = {
    "experiment": ["segment_tissue"],  # another folder
    "preset": ["distill_slpd"],
    "cohorts.name": ["segment_tissue"],
    "cohorts.masks": ["segment_tissue"],
    "cohorts.regions": ["tile_regions"],
    "cohorts.sheet": ["split_folds"],  # the same slides in another file
    "cohorts.prototypes": ["distill_slpd"],
    "cohorts.known_kinds": ["make_report"],
    "tissue": ["segment_tissue"],
    "regions": ["tile_regions"],
    "reading": ["encode_patches"],
    "patch_encoder": ["encode_patches"],
    "patch_encoder.patch_px": ["tile_regions"],  # moves with regions.region_px
    "manifest.max_failed_fraction": [],
    "manifest.min_sharpness": ["cohort_manifest"],
    "jobs": [],
    "region_encoder": ["pretrain_dino", "draw_encoder"],
    "training": ["pretrain_dino"],
    "pretraining_seeds": ["pretrain_dino"],
    "prototypes": ["cluster_regions"],
    "slide_graph": ["link_slides"],
    "objective": ["distill_slpd"],
    "licence": ["export_encoder"],
    "variants.name": ["distill_slpd"],
    "variants.pretrained": ["embed_bags"],
    "variants.random": ["draw_encoder"],
    "variants.encoder_of": ["embed_bags"],
    "variants.token_mean": ["pool_tokens"],
    "variants.patch_tokens": ["bag_patches"],
    "variants.slide_vectors": ["import_vectors"],
    "variants.region_vectors": ["import_vectors"],
    "variants.region_encoder": ["pretrain_dino"],
    "variants.training": ["pretrain_dino"],
    "variants": ["distill_slpd"],
    "tasks": ["split_folds"],
    "tasks.name": ["split_folds", "measure_robustness"],
    "tasks.label": ["split_folds", "measure_robustness"],
    "tasks.classes": ["split_folds", "measure_robustness"],
    "heads": ["evaluate"],
    "head_presets": ["evaluate"],
    "intervals": ["evaluate", "measure_robustness"],
    "subgroups": ["compare_subgroups"],
    "robustness": ["measure_robustness"],
    "tables.caption": ["make_table"],
    "tables.metrics": ["make_table"],
    "tables.name": ["make_table"],
    "tables.published": ["make_table"],
    "tables": ["evaluate"],
    "tables.tasks": ["evaluate", "measure_robustness"],
    "tables.variants": ["evaluate", "measure_robustness"],
    "report.variants": LEARNED,
    "report.picture_px": ["picture_regions"],
    "report.nearest_regions": ["make_report"],
    "report.cases": ["make_report"],
    "report.permutations": ["test_graph"],
    "report.perplexity": ["map_prototypes"],
    "report.seed": ["map_prototypes", "test_graph"],
}
EVERYTHING = ["segment_tissue"]
# Slides without prototypes of their own have no graph, and the report shows nothing of them.
WITHOUT = {
    "prototypes.level": {"link_slides", *LEARNED},
    # Of further seeds the report has figures alone.
    "pretraining_seeds": {*LEARNED, "compare_subgroups", "measure_robustness"},
}


def after(first: Iterable[str]) -> set[str]:
    """The stages `first` and all that depend on them."""
    found: set[str] = set()
    waiting = list(first)
    while waiting:
        stage = waiting.pop()
        if stage not in found:
            assert stage in READERS, f"{stage}: a new stage; say in tests/rerun_table.py (READERS) what reads it"
            found.add(stage)
            waiting += READERS[stage]
    return found


# ---- the config that is edited: the toy's, with one entry of every kind --------------------------------------------

GIVEN = {"checkpoint": "given.safetensors", "sha256": "filled in by the test"}


def start_config() -> Config:
    """The toy's config with variants, tasks and heads of the other kinds beside what is there."""
    config = copy.deepcopy(toy.TOY)
    config["variants"] += [
        {"name": "given", "pretrained": dict(GIVEN)},
        {"name": "mean", "token_mean": True},
        {"name": "random", "random": {"seed": 0}},
        {"name": "patches", "patch_tokens": True},
        {"name": "titan", "slide_vectors": {"folder": "vectors", "key": "features"}},
        {"name": "tiles", "region_vectors": {"folder": "bags", "key": "features"}},
        {"name": "intra", "objective": {"inter": 0}},
    ]
    dx = config["tasks"][0]
    dx.update(kind="subtyping", level="slide")
    folds = {"kind": "imported", "folder": "splits", "allow_patient_overlap": False, "train_fraction": 1.0}
    config["tasks"].append({**copy.deepcopy(dx), "name": "imp", "folds": folds})
    time = {"kind": "survival", "time": "months", "event": "dead", "n_bins": 2, "loss": "discrete"}
    config["tasks"].append({"name": "os", "cohort": "toy", **time, "folds": copy.deepcopy(dx["folds"])})
    entry(config, "heads", "knn").update(metric="euclidean", weights="uniform")
    widths = {"embedding": 12, "depth": 1, "heads": 3, "feedforward": 8, "attention": 8}
    config["heads"] += [
        {"name": "logistic", "kind": "logistic", "inverse_penalty": 1.0, "balanced": True},
        {"name": "vit_wsi", "kind": "vit_wsi", "preset": "modern", **widths, "dropout": 0.0},
    ]
    config["report"] = {"variants": ["slpd"]}
    config["robustness"] = {"confounders": ["site"]}
    config["subgroups"] = {"columns": [{"column": "months", "edges": [5.0]}]}
    config["tables"] += [
        table("vectors", ["dx"], ["titan", "tiles"], ["knn"], ["auc"]),
        table(
            "small", ["dx", "imp"], ["given", "mean", "random", "patches"], ["knn"], ["auc"], published=["figures.csv"]
        ),
        table("kinds", ["dx"], ["intra"], ["logistic", "vit_wsi"], ["auc"]),
        table("survival", ["os"], ["intra"], ["abmil"], ["c_index"]),
    ]
    return config


def table(
    name: str, tasks: list[str], variants: list[str], heads: list[str], metrics: list[str], **more: object
) -> Config:
    """A table of the config."""
    names = {"tasks": tasks, "variants": variants, "heads": heads, "metrics": metrics}
    return {"name": name, "caption": name, **names, **more}


def entry(config: Config, section: str, name: str) -> Config:
    """A named entry of a list of the config."""
    return next(one for one in config[section] if one["name"] == name)


def rename(section: str, name: str, referring: str | None) -> Edit:
    """An edit that renames an entry, and what refers to it."""

    def edit(config: Config) -> None:
        entry(config, section, name)["name"] = "renamed"
        for table in config["tables"]:
            if referring:
                table[referring] = ["renamed" if one == name else one for one in table[referring]]
        if section == "variants":
            config["report"]["variants"] = ["renamed"]
        for task in config["tasks"]:
            task["cohort"] = "renamed" if section == "cohorts" else task["cohort"]

    return edit


def in_entry(section: str, name: str, *path: str, value: object) -> Edit:
    """An edit of a key of a named entry."""

    def edit(config: Config) -> None:
        place = entry(config, section, name)
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place[path[-1]] = value

    return edit


def weights(config: Config) -> None:
    """Weights of the patch encoder where there were none; the hash belongs to them."""
    config["patch_encoder"].update(checkpoint="given.safetensors", sha256="0" * 64)


def tokens_alone(key: str) -> Edit:
    """Tokens where there was an encoder."""

    def edit(config: Config) -> None:
        given = entry(config, "variants", "given")
        del given["pretrained"]
        given[key] = True

    return edit


def trained_encoder(config: Config) -> None:
    """The encoder of another variant where there was one from elsewhere."""
    given = entry(config, "variants", "given")
    del given["pretrained"]
    given["encoder_of"] = {"cohort": "toy", "variant": "slpd"}


def prototypes_of_the_cohort(config: Config) -> None:
    """Prototypes of the whole cohort, but for the variant that links slides."""
    config["prototypes"]["level"] = "cohort"
    entry(config, "variants", "slpd")["prototypes"] = {"level": "slide"}


def larger_patches(config: Config) -> None:
    """Patches of twice the side; regions stay 16 x 16 patches."""
    config["regions"]["region_px"] *= 2
    config["patch_encoder"]["patch_px"] *= 2
    config["patch_encoder"]["arguments"]["img_size"] *= 2


def other_folds(config: Config) -> None:
    """Generated folds where there were imported ones."""
    entry(config, "tasks", "imp")["folds"] = copy.deepcopy(entry(config, "tasks", "dx")["folds"])


def few_shot(config: Config) -> None:
    """Two draws of a case per class where all were trained on."""
    entry(config, "tasks", "dx")["folds"].update(train_per_class=1, n_draws=2)


def other_head(config: Config) -> None:
    """Another kind of head under the same name."""
    knn = entry(config, "heads", "knn")
    knn.clear()
    knn.update({**entry(config, "heads", "abmil"), "name": "knn"})


# Edits of keys whose other value cannot be guessed from their type. A key of the config that is in no section and not
# here has no row, and the test says so.
EDITS: dict[str, Edit] = {
    "experiment": lambda config: config.update(experiment="other"),
    "licence": lambda config: config.update(licence="cc-by-nc-4.0"),
    "preset": lambda config: config.update(preset="released"),
    "cohorts.name": rename("cohorts", "toy", None),
    "cohorts.sheet": in_entry("cohorts", "toy", "sheet", value="copy.csv"),
    "cohorts.masks": in_entry("cohorts", "toy", "masks", value="masks/{slide}.png"),
    "cohorts.regions": in_entry("cohorts", "toy", "regions", value={"min_tissue": 0.6}),
    "cohorts.prototypes": in_entry("cohorts", "toy", "prototypes", value={"seed": 1}),
    "cohorts.known_kinds": in_entry("cohorts", "toy", "known_kinds", value="kinds.csv"),
    "regions.region_px": larger_patches,
    "patch_encoder.patch_px": larger_patches,
    "patch_encoder.model": lambda config: config["patch_encoder"].update(model="vit_tiny_patch16_224"),
    "patch_encoder.arguments": lambda config: config["patch_encoder"]["arguments"].update(depth=2),
    "patch_encoder.checkpoint": weights,
    "patch_encoder.sha256": weights,
    "jobs.shared_tokens": lambda config: config["jobs"].update(shared_tokens="elsewhere"),
    "jobs.copy_to": lambda config: config["jobs"].update(copy_to="/elsewhere"),
    "variants.name": rename("variants", "slpd", "variants"),
    "pretraining_seeds": lambda config: config.update(pretraining_seeds=[0, 1]),
    "variants.region_encoder": in_entry("variants", "slpd", "region_encoder", value={"drop_path": 0.2}),
    "variants.training": in_entry("variants", "slpd", "training", value={"clip_norm": 2.0}),
    "variants.objective": in_entry("variants", "slpd", "objective", value={"intra": 0.5}),
    "variants.prototypes": in_entry("variants", "slpd", "prototypes", value={"seed": 1}),
    "variants.slide_graph": in_entry("variants", "slpd", "slide_graph", value={"n_neighbours": 2}),
    "variants.pretrained.checkpoint": in_entry(
        "variants", "given", "pretrained", "checkpoint", value="moved.safetensors"
    ),
    "variants.pretrained.sha256": in_entry("variants", "given", "pretrained", "sha256", value="0" * 64),
    "variants.token_mean": tokens_alone("token_mean"),
    "variants.patch_tokens": tokens_alone("patch_tokens"),
    "variants.slide_vectors.folder": in_entry("variants", "titan", "slide_vectors", "folder", value="vectors/{cohort}"),
    "variants.slide_vectors.key": in_entry("variants", "titan", "slide_vectors", "key", value="feats"),
    "variants.region_vectors.folder": in_entry("variants", "tiles", "region_vectors", "folder", value="bags/{cohort}"),
    "variants.region_vectors.key": in_entry("variants", "tiles", "region_vectors", "key", value="feats"),
    "variants.encoder_of.cohort": trained_encoder,
    "variants.encoder_of.variant": trained_encoder,
    "variants.epochs_per_iteration": in_entry("variants", "slpd", "epochs_per_iteration", value=2),
    "prototypes.level": prototypes_of_the_cohort,
    "tasks.time": in_entry("tasks", "os", "time", value="weeks"),
    "tasks.event": in_entry("tasks", "os", "event", value="relapsed"),
    "tasks.name": rename("tasks", "imp", "tasks"),
    "tasks.cohort": lambda config: None,  # there is one
    "tasks.label": in_entry("tasks", "dx", "label", value="dy"),
    "tasks.classes": in_entry("tasks", "dx", "classes", value=["b", "a"]),
    "tasks.folds.kind": other_folds,
    "tasks.folds.train_per_class": in_entry("tasks", "dx", "folds", "train_per_class", value=1),
    "tasks.folds.n_draws": few_shot,
    "tasks.folds.preserve": in_entry("tasks", "dx", "folds", "preserve", value="site"),
    "tasks.folds.folder": in_entry("tasks", "imp", "folds", "folder", value="other_splits"),
    "heads.name": rename("heads", "knn", "heads"),
    "heads.kind": other_head,
    "heads.preset": in_entry("heads", "abmil", "preset", value="hipt"),
    "tables.name": lambda config: entry(config, "tables", "small").update(name="renamed"),
    "tables.caption": in_entry("tables", "toy", "caption", value="Other"),
    "tables.tasks": in_entry("tables", "toy", "tasks", value=["dx", "imp"]),
    "tables.variants": in_entry("tables", "small", "variants", value=["given", "slpd"]),
    "tables.heads": in_entry("tables", "small", "heads", value=["knn", "abmil"]),
    "tables.published": in_entry("tables", "small", "published", value=["other_figures.csv"]),
    "report.variants": lambda config: config["report"].update(variants=["slpd", "intra"]),
    "subgroups.columns.column": lambda config: config["subgroups"]["columns"][0].update(column="dead"),
    "subgroups.columns.edges": lambda config: config["subgroups"]["columns"][0].update(edges=[4.0]),
    "robustness.confounders": lambda config: config["robustness"].update(confounders=["weeks"]),
    "robustness.neighbours": lambda config: config["robustness"].update(neighbours=[3]),
    "tables.metrics": in_entry("tables", "toy", "metrics", value=["auc"]),
}
PREDICTIONS = {f"predictions.{key}" for key in ("name", "cohort", "task", "variant", "head")}
NOTHING_TO_EDIT = {"tasks.cohort", "tasks.test_cohort", "cohorts.of", *PREDICTIONS}  # there is one cohort


# ---- rows ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """An edit of a key of the config, and what it runs again."""

    key: str
    edit: Edit
    stages: frozenset[str]


def keys(model: type[BaseModel] = Experiment, before: str = "") -> Iterator[str]:
    """Every key of the config, `section.key`; keys of lists' entries without the place in the list."""
    for name, field in model.model_fields.items():
        inner = nested(field.annotation)
        for deeper in inner:
            yield from keys(deeper, f"{before}{name}.")
        if not inner:
            yield f"{before}{name}"


def expected(key: str) -> frozenset[str]:
    """The stages that must run again when a key changes: those that read it and all after them."""
    names = [name for name in FIRST if key == name or key.startswith(f"{name}.")]
    assert names, f"{key}: no row in the rerun table; say in tests/rerun_table.py (FIRST) which stages read it"
    return frozenset(after(FIRST[max(names, key=len)]) - WITHOUT.get(key, set()))


def rows() -> list[Row]:
    """A row for every key of the config."""
    every = [key for key in dict.fromkeys(keys()) if key not in NOTHING_TO_EDIT]
    return [Row(key, EDITS.get(key) or other_value(key), expected(key)) for key in every]


def other_value(key: str) -> Edit:
    """An edit that gives a key another value that its type and the whole config allow."""
    *path, last = key.split(".")
    start = merged(start_config())
    place = holder(start, path, last)
    for value in candidates(place[last], annotation(key)):

        def edit(config: Config, value: object = value) -> None:
            holder(config, path, last)[last] = value

        config = start_config()
        edit(config)
        try:
            load_experiment(merged(config))
        except UserError:
            continue
        return edit
    raise AssertionError(f"{key}: no other value than {place[last]!r} found; write an edit in tests/rerun_table.py")


def merged(config: Config) -> Config:
    """The config as the workflow sees it: the paper's, changed."""
    base = yaml.safe_load((toy.ROOT / "config/config.yaml").read_text())
    config = copy.deepcopy(config)
    for variant in config["variants"]:
        if "pretrained" in variant:
            variant["pretrained"]["sha256"] = "0" * 64
    update_config(base, config)
    return base


def holder(config: Config, path: list[str], last: str) -> Config:
    """The mapping that a key stands in; of lists, the first entry that has it; of presets of heads, the toy's."""
    place = config
    for name in path:
        place = place.setdefault(name, {}) if isinstance(place, dict) else place
        place = place["modern"] if name == "head_presets" else place
        if isinstance(place, list):
            rest = path[path.index(name) + 1 :]
            place = next(one for one in place if has(one, [*rest, last]))
    return place


def has(one: Config, path: list[str]) -> bool:
    """Whether a nested key is there."""
    return path[0] in one and (len(path) == 1 or has(one[path[0]], path[1:]))


def annotation(key: str) -> object:
    """The type of a key."""
    models: list[type[BaseModel]] = [Experiment]
    *path, last = key.split(".")
    for name in path:
        models = [inner for m in models if name in m.model_fields for inner in nested(m.model_fields[name].annotation)]
    return next(m.model_fields[last].annotation for m in models if last in m.model_fields)


def candidates(value: Any, kind: object) -> list[Any]:  # noqa: ANN401  # any value of the config
    """Other values than `value`, of its kind."""
    found: list[Any] = []
    if isinstance(value, dict):  # one value per preset
        found = [dict(zip(value, reversed(value.values()), strict=True))]
    elif get_origin(kind) is Literal:
        found = [choice for choice in get_args(kind) if choice != value]
    elif isinstance(value, bool):
        found = [not value]
    elif value is None and int in get_args(kind):
        found = [4]
    elif isinstance(value, int):
        found = [value + 1, 2 * value, value - 1]
    elif isinstance(value, float):
        found = [value * 1.01, value / 2, value + 0.1]
    elif isinstance(value, list) and value and isinstance(value[0], float):
        found = [[value[0] * 0.9, *value[1:]]]
    return [other for other in found if other != value]


# ---- the page ------------------------------------------------------------------------------------------------------

ELSE = "; else tables, model cards, predictions and the report"
FILES = [
    (
        "one slide more in the sheet",
        f"that slide, by the jobs of its batch; all after them, if it can be used{ELSE}",
        EVERYTHING,
    ),
    (
        "one slide less",
        f"the jobs of its batch, which have nothing to do; all after them, if it was used{ELSE}",
        EVERYTHING,
    ),
    ("a slide replaced by another file (of another size)", "as one slide more", EVERYTHING),
    ("a slide's `mpp` or `mask`", "as one slide more", EVERYTHING),
    ("a slide's path, its file moved", "as one slide more", EVERYTHING),
    ("a label or a patient in the sheet", "", ["split_folds", "test_graph", "compare_subgroups", "measure_robustness"]),
    ("a figure in a file of published figures", "", ["make_table"]),
    ("a variant's `pretrained.checkpoint` set to null", "", ["compare_subgroups", "make_table"]),
    ("a split file of imported folds removed", "", ["split_folds"]),
    ("a variant, a head, a task or published figures removed from a table", "", ["compare_subgroups", "make_table"]),
    ("a table removed from the list", "", ["make_report"]),
    ("a variant whose settings become those of another one", "", ["evaluate", "measure_robustness"]),
    ("one column more in the sheet", "", ["split_folds", "test_graph", "compare_subgroups", "measure_robustness"]),
    ("the order of lines in the sheet", "", ["split_folds"]),
    ("a comment, or the order of keys, in the config", "", []),
    ("a slide copied or touched, with the same size", "", []),
    ("another branch, edits of code, comments or the text of a rule", "", []),
    ("threads, memory, time, partition, GPUs, nodes, another machine", "", []),
]


def page() -> str:
    """docs/reruns.md."""
    lines = [
        "# What runs again after an edit",
        "",
        "Made by `make reruns` from `tests/rerun_table.py`. `tests/test_reruns.py` makes every edit of it on a",
        "finished run and compares the planned jobs. `make why CONFIG=...` answers for your edit, with old and new",
        "values.",
        "",
        "- Stages run again from the first that reads the key; what depends on it follows.",
        "- A job runs again when an input is newer or a param differs. Which files it reads is such a param, if that",
        "  can change while no file is newer. So a slide taken out of a sheet is noticed, and jobs that are only cut",
        "  another way are not.",
        "- A run plans all that may follow. It leaves jobs out once it knows that what they read is the same. So a",
        "  slide that is left out, more or less, trains and evaluates nothing, and neither does another order of",
        "  lines. The jobs of its batch start, one of `encode_patches` among them, and find their work done. Manifest,",
        "  tables and report are made again, since they tell how many slides were given and which were left out.",
        "- Where an earlier training of the same variant was cut as the config now asks, Snakemake may compare with",
        "  its record and start blocks again. They hand out finished work in seconds, and what depends on them runs",
        "  again.",
        "",
        "| key | runs again |",
        "|---|---|",
    ]
    for (_, stages), group in groupby(rows(), key=lambda row: (row.key.split(".")[0], row.stages)):
        names = ", ".join(f"`{row.key}`" for row in group)
        lines.append(f"| {names} | {listed(stages)} |")
    lines += ["", "| edited | runs again |", "|---|---|"]
    for what, words, first in FILES:
        lines.append(f"| {what} | {words or listed(after(first))} |")
    lines += ["", "A raised result version (`slpd/versions.py`; a code change that moves results) runs again:", ""]
    lines += ["| stage | runs again |", "|---|---|"]
    lines += [f"| `{stage}` | {listed(after([stage]))} |" for stage in RESULT_VERSIONS]
    return "\n".join([*lines, ""])


def listed(stages: Iterable[str]) -> str:
    """Stages in the order of the run, or nothing."""
    order = [stage for stage in READERS if stage in set(stages)]
    if len(order) >= len(READERS) - 3:  # all but import_tokens, join_cohorts and predict_slides
        return "everything"
    return ", ".join(f"`{stage}`" for stage in order) or "nothing"


if __name__ == "__main__":
    PAGE.write_text(page())
