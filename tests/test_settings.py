"""The config: shipped files are valid, faults are refused in one line that names the key and says what to do."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.utils import update_config

from slpd.errors import UserError
from slpd.settings.load import load_experiment, refuse_repeated_keys
from slpd.settings.recipe import Recipe
from slpd.settings.training import INTRA, SELF

ROOT = Path(__file__).parents[1]
PAPER = yaml.safe_load((ROOT / "config/config.yaml").read_text())


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes` the way Snakemake merges config files: mappings key by key, lists whole."""
    result = copy.deepcopy(base)
    update_config(result, changes)
    return result


def test_paper_config_is_the_released_schedule() -> None:
    experiment = load_experiment(PAPER)
    nsclc, brca = experiment.cohorts
    slpd = next(variant for variant in experiment.variants if variant.name == "slpd")
    assert experiment.training.n_iterations == 79
    assert (experiment.prototypes_of(nsclc, slpd).n_prototypes, experiment.prototypes_of(nsclc, slpd).min_regions) == (
        4,
        32,
    )
    assert (experiment.prototypes_of(brca, slpd).n_prototypes, experiment.prototypes_of(brca, slpd).min_regions) == (
        2,
        16,
    )


@pytest.mark.parametrize(("names", "grid"), [(["demo"], 7), (["trial"], 16), (["trial", "trial_slides"], 16)])
def test_shipped_experiments_only_change_what_exists(names: list[str], grid: int) -> None:
    config = PAPER
    for name in names:
        config = merged(config, yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()))
    experiment = load_experiment(config)
    assert experiment.experiment == names[-1]
    assert experiment.regions.region_px / experiment.patch_encoder.patch_px == grid, "but for the demo, as in the paper"


def test_variants_change_only_what_they_name() -> None:
    experiment = load_experiment(PAPER)
    weights = {
        v.name: (experiment.objective_of(v).intra, experiment.objective_of(v).inter) for v in experiment.variants[:4]
    }
    assert weights == {"dino": (0, 0), "intra": (1, 0), "inter": (0, 1), "slpd": (1, 1)}
    objectives = {v.name: experiment.objective_of(v) for v in experiment.variants[:4]}
    assert [name for name, objective in objectives.items() if objective.needs_prototypes] == ["intra", "inter", "slpd"]
    assert [name for name, objective in objectives.items() if objective.needs_graph] == ["inter", "slpd"]
    assert objectives["intra"].terms == (SELF, INTRA)
    assert {experiment.objective_of(v).prototype_views for v in experiment.variants} == {"all"}


# What the released code does (Carboxy/SLPD at bf3fde4): defaults of main_SLPD.py and its README command for NSCLC.
RELEASED = {
    "training": {"dino_epochs": 21, "epochs_per_iteration": 1},
    "prototypes": {
        "n_prototypes": 4,
        "min_regions": 32,
        "features": "bottleneck",
        "kmeans_iterations": 10,
        "kmeans_restarts": 5,
        "seed": 0,
    },
    "slide_graph": {"n_neighbours": 1, "correspondence": "nearest"},
    "objective": {"intra": 1, "inter": 1, "prototype_views": "released", "prototype_centre": "own"},
}


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_a_preset_fixes_every_setting_in_which_paper_and_released_code_can_differ(preset: str) -> None:
    dumped = load_experiment(PAPER | {"preset": preset}).model_dump()
    departures = {
        (section, key): dumped[section][key]
        for section, values in RELEASED.items()
        for key, value in values.items()
        if dumped[section][key] != value
    }
    papers = {("slide_graph", "correspondence"): "matching", ("objective", "prototype_views"): "all"}
    assert departures == (papers if preset == "paper" else {})


def test_paper_is_the_default_preset() -> None:
    assert PAPER["preset"] == "paper"


def test_an_own_value_holds_under_both_presets_and_may_be_given_for_one() -> None:
    both = merged(PAPER, {"slide_graph": {"correspondence": "nearest"}})
    one = merged(PAPER, {"slide_graph": {"correspondence": {"released": "matching"}}})
    for preset in ("paper", "released"):
        assert load_experiment(both | {"preset": preset}).slide_graph.correspondence == "nearest"
        assert load_experiment(one | {"preset": preset}).slide_graph.correspondence == "matching"


def set_key(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    """A fault: the value at `path` (list positions are numbers) is replaced."""

    def change(config: dict[str, Any]) -> None:
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in parents:
            config = config[part]
        config[last] = value

    return change


FAULTS = {
    "misspelt key": (
        set_key("tissue.min_area_mm", 1),
        r"tissue\.min_area_mm: unknown key, did you mean 'min_area_mm2'",
    ),
    "misspelt section": (set_key("trainig", {}), r"trainig: unknown key, did you mean 'training'"),
    "key in a list": (set_key("tasks.0.lable", "x"), r"config\.tasks\.nsclc_subtype\.lable: unknown key, .*'label'"),
    "key in a head": (set_key("heads.1.K", 3), r"config\.heads\.knn\.K: unknown key, did you mean 'k'"),
    "wrong type": (set_key("training.epochs", "many"), r"training\.epochs: .*integer.*'many'"),
    "out of range": (set_key("regions.mpp", 40), r"regions\.mpp: .*less than or equal to 10.*40"),
    "not a number": (set_key("training.learning_rate", float("nan")), r"training\.learning_rate: .*finite"),
    "unsafe experiment": (set_key("experiment", "../up"), r"experiment: .*'\.\./up'"),
    "unsafe variant": (set_key("variants.0.name", "a b"), r"variants\.0\.name: .*'a b'"),
    "variant twice": (set_key("variants.0.name", "slpd"), r"variants: the name 'slpd' is given 2 times"),
    "unknown cohort": (set_key("tasks.0.cohort", "luad"), r"tasks\.nsclc_subtype\.cohort: .*'luad'.* nsclc, brca"),
    "unknown variant": (set_key("tables.0.variants", ["slp"]), r"tables\.subtyping\.variants: .*'slp'.*slpd"),
    "unknown metric": (set_key("tables.0.metrics", ["acc"]), r"config\.tables\.subtyping\.metrics\.0: .*'auc'.*'acc'"),
    "unknown head kind": (set_key("heads.0.kind", "svm"), r"heads\.abmil\.kind: .*one of 'knn', .*'abmil'.*'svm'"),
    "no head kind": (lambda config: config["heads"][0].pop("kind"), r"config\.heads\.abmil\.kind: missing"),
    "unknown task kind": (
        set_key("tasks.1.kind", "Survival"),
        r"^config\.tasks\.brca_subtype\.kind: input should be one of 'subtyping', 'ordinal', 'survival', 'regression'"
        r" \(it is 'Survival'\)$",
    ),
    "empty task kind": (set_key("tasks.1.kind", None), r"config\.tasks\.brca_subtype\.kind: .*'ordinal'.*None"),
    "unknown kind of folds": (
        set_key("tasks.0.folds.kind", "hipt"),
        r"tasks\.nsclc_subtype\.folds\.kind: .*'imported'",
    ),
    "numbers as classes": (
        set_key("tasks.0.classes", [0, 1, 2]),
        r"^config\.tasks\.nsclc_subtype\.classes\.0: input should be a valid string \(it is 0\); write it in quotes$",
    ),
    "a task's key that is the name of its model": (
        lambda config: config["tasks"][0].update({"class": config["tasks"][0].pop("classes")}),
        r"^config\.tasks\.nsclc_subtype\.classes: missing",
    ),
    "variant's key": (set_key("variants.3.prototypes", {"m": 8}), r"variants\.slpd\.prototypes\.m: unknown key"),
    "cohort's value": (
        set_key("cohorts.1.prototypes", {"n_prototypes": 64}),
        r"cohorts\.brca\.prototypes.*min_regions is 32, n_prototypes 64: raise min_regions",
    ),
    "patches do not tile": (set_key("patch_encoder.patch_px", 250), r"patch_encoder\.patch_px: 250 does not divide"),
    "crop too large": (set_key("training.global_crop", 17), r"training\.global_crop: 17 patches do not fit"),
    "heads do not divide": (set_key("region_encoder.heads", 5), r"region_encoder: width is 192, heads 5"),
    "unknown preset": (set_key("preset", "relesed"), r"config\.preset: 'relesed'; it is paper or released"),
    "half a preset": (
        set_key("slide_graph.n_neighbours", {"released": 2}),
        r"slide_graph\.n_neighbours: given for released; give one value, or one each for paper and released",
    ),
    "half a preset in a list": (
        set_key("variants.3.slide_graph", {"n_neighbours": {"paper": 2}}),
        r"config\.variants\.slpd\.slide_graph\.n_neighbours: given for paper; give one value",
    ),
    "an entry with the name of a preset": (
        set_key("head_presets.paper", {}),
        r"^config\.head_presets: paper cannot stand beside hipt, modern: as a key it is .*; rename it$",
    ),
    "unknown features": (set_key("prototypes.features", "cls"), r"prototypes\.features: .*'region_vector'.*'cls'"),
    "no iterations": (set_key("training.dino_epochs", 100), r"training: epochs - dino_epochs is 0; leave epochs"),
    "weights without hash": (set_key("patch_encoder.sha256", None), r"patch_encoder: checkpoint and sha256"),
    "no spread": (set_key("patch_encoder.std", [0.2, 0, 0.2]), r"patch_encoder\.std\.1: .*greater than 0"),
    "head twice": (
        set_key("tables.0.heads", ["knn", "knn"]),
        r"config\.tables\.subtyping: heads: knn is listed twice; keep one",
    ),
    "one class": (set_key("tasks.0.classes", ["LUAD"]), r"config\.tasks\.nsclc_subtype\.classes: .*at least 2"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_refused_in_one_line_that_names_it(fault: str) -> None:
    change, message = FAULTS[fault]
    config = copy.deepcopy(PAPER)
    change(config)
    with pytest.raises(UserError) as refusal:
        load_experiment(config)
    assert "\n" not in str(refusal.value)
    assert re.search(message, str(refusal.value)), str(refusal.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("variants: []\ntables: []\nvariants: [{name: a}]\n", "line 3: variants is there twice"),
        ("training:\n  epochs: 3\n  seed: 0\n  epochs: 4\n", "line 4: epochs is there twice"),
        ("heads: [{name: a, kind: knn}, {name: b, k: 1, k: 2}]\n", "line 1: k is there twice"),
        ("heads: [{name: a}, {name: b}]\ntraining: {seed: 0}\nname: c\n", ""),
        ("", ""),
        ("a:\n\tb: 1\n", ""),  # Snakemake says what is wrong
        ("a: M\udcfcller\n", ""),  # Latin-1
    ],
)
def test_a_key_that_stands_twice_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """YAML takes the last value, and the first would be lost without a word."""
    (tmp_path / "mine.yaml").write_text(text, errors="surrogateescape")
    if message:
        with pytest.raises(UserError, match=rf"mine\.yaml, {message}; keep one$"):
            refuse_repeated_keys([tmp_path / "mine.yaml"])
    else:
        refuse_repeated_keys([tmp_path / "mine.yaml", tmp_path / "absent.yaml"])


def test_missing_section_is_named() -> None:
    config = {key: value for key, value in PAPER.items() if key != "tissue"}
    with pytest.raises(UserError, match=r"config\.tissue: missing"):
        load_experiment(config)


def test_every_key_of_the_paper_config_says_what_it_is() -> None:
    """A value of a section without a comment on its line or above it has no unit and no source."""
    lines = (ROOT / "config/config.yaml").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("tissue:"))
    stop = next(i for i, line in enumerate(lines) if line.startswith("variants:"))
    bare = [
        line
        for before, line in zip(lines[start - 1 : stop], lines[start:stop], strict=False)
        if re.match(r"  \w+: \S", line) and "#" not in line and not before.strip().startswith("#")
    ]
    assert bare == []


def variant_of(entry: dict[str, Any], **others: object) -> dict[str, Any]:
    """The paper's config with one more variant, in a table of its own."""
    config = copy.deepcopy(PAPER)
    config["variants"].append({"name": "new"} | entry)
    config["tables"] = [config["tables"][0] | {"variants": ["new"]} | others]
    return config


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"token_mean": True, "prototypes": {"n_prototypes": 2}}, "token_mean stands beside prototypes"),
        ({"token_mean": True, "encoder_of": {"cohort": "brca", "variant": "slpd"}}, "token_mean and encoder_of stand"),
        ({"random": {"seed": 0}, "objective": {"inter": 0}}, "random stands beside objective, but it is not trained"),
        ({"random": {"seed": 0}, "epochs_per_iteration": 1}, "random stands beside epochs_per_iteration"),
        ({"random": {"seed": 0}, "token_mean": True}, "random and token_mean stand side by side; keep one"),
        ({"random": {"seed": 0, "width": 8}}, r"variants.new.random.width: unknown key"),
        ({"random": {}}, r"variants.new.random.seed: missing"),
        ({"random": {"seed": -1}}, r"variants.new.random.seed: .*-1"),
        ({"encoder_of": {"cohort": "luad", "variant": "slpd"}}, r"encoder_of.cohort: no cohorts entry is named 'luad'"),
        ({"encoder_of": {"cohort": "brca", "variant": "hipt"}}, r"encoder_of.variant: no trained variants .*'hipt'"),
        ({"prototypes": {"level": "cohort"}}, "variants.new: prototypes.level is cohort, .* objective.inter is not 0"),
        ({"prototypes": {"n_prototypes": 40}}, "cohorts.*|variants.new.prototypes: min_regions is 32, n_prototypes 40"),
    ],
)
def test_variants_that_make_no_sense_are_refused(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_experiment(variant_of(entry))


def test_a_variant_that_no_table_asks_for_is_left_alone() -> None:
    """The shipped ablations need not fit an experiment that does not use them."""
    config = variant_of({"prototypes": {"n_prototypes": 40}})
    config["tables"][0]["variants"] = ["slpd"]
    experiment = load_experiment(config)
    assert [variant.name for variant in experiment.trained_on("nsclc")] == ["slpd"]


@pytest.mark.parametrize(("preset", "alike"), [("paper", "slpd_matching"), ("released", "slpd_nearest")])
def test_variants_that_are_trained_alike_are_trained_once(preset: str, alike: str) -> None:
    """In the shipped ablations: M = 4 is `slpd` on lung, M = 2 on breast, and one correspondence is the preset's."""
    experiment = load_experiment(PAPER | {"preset": preset})
    other = ({"slpd_matching", "slpd_nearest"} - {alike}).pop()
    for cohort, same in (("nsclc", "slpd_m4"), ("brca", "slpd_m2")):
        names = [variant.name for variant in experiment.trained_on(cohort)]
        assert {"slpd", "slpd_m1", other, "dino", "global"} < set(names)
        assert not {same, alike} & set(names)
        variants = {variant.name: variant for variant in experiment.variants}
        assert experiment.trained_as(cohort, variants[same]).name == "slpd"
        assert experiment.trained_as(cohort, variants["hipt"]).name == "hipt"
    config = copy.deepcopy(PAPER)
    config["tables"] = [table for table in config["tables"] if table["name"] == "ablation_prototypes"]
    fewer = load_experiment(config)  # whichever tables there are, so that a new one repeats no training
    assert [v.name for v in fewer.trained_on("nsclc")] == ["slpd", "slpd_m1", "slpd_m2", "slpd_m8"]


@pytest.mark.parametrize("idle", ["intra", "dino"])
def test_a_section_that_a_variant_does_not_use_makes_no_difference(idle: str) -> None:
    """Plain DINO has no prototypes, and without the inter-slide term there is no slide graph."""
    objective = {"inter": 0} if idle == "intra" else {"intra": 0, "inter": 0}
    entry = {"objective": objective, "slide_graph": {"n_neighbours": 3}}
    experiment = load_experiment(variant_of(entry))
    new = experiment.variants[-1]
    assert experiment.trained_as("nsclc", new).name == idle
    different = load_experiment(variant_of(entry | {"epochs_per_iteration": 7}))
    assert different.trained_as("nsclc", different.variants[-1]).name == "new"


def test_an_encoder_that_is_lent_is_trained_where_it_comes_from() -> None:
    config = variant_of({"encoder_of": {"cohort": "brca", "variant": "intra"}}, tasks=["nsclc_subtype"])
    experiment = load_experiment(config)
    assert [variant.name for variant in experiment.tested_on("nsclc")] == ["new"]
    assert experiment.trained_on("nsclc") == []
    assert [variant.name for variant in experiment.trained_on("brca")] == ["intra"]


def test_heads_and_tables_refer_to_what_there_is() -> None:
    config = copy.deepcopy(PAPER)
    config["heads"][0]["preset"] = "hip"
    with pytest.raises(UserError, match=r"heads\.abmil\.preset: no head_presets entry is named 'hip'; there are hipt"):
        load_experiment(config)
    with pytest.raises(UserError, match=r"tables\.subtyping\.metrics: no task of the table has c_index"):
        load_experiment(variant_of({}, metrics=["c_index"]))


def test_coxs_loss_with_one_bag_per_step_is_refused() -> None:
    """Where a table trains so; the head may be there for other tasks."""
    config = copy.deepcopy(PAPER)
    config["tasks"].append(
        {"name": "os", "cohort": "nsclc", "kind": "survival", "time": "t", "event": "e", "n_bins": 4, "loss": "cox"}
        | {"folds": config["tasks"][0]["folds"]}
    )
    config["tables"].append(
        config["tables"][0] | {"name": "os", "tasks": ["os"], "heads": ["abmil"], "metrics": ["c_index"]}
    )
    assert load_experiment(config)
    config["head_presets"]["modern"]["batch_size"] = 1
    with pytest.raises(UserError, match=r"^tasks\.os\.loss: cox compares the bags .* head_presets\.modern\.batch_size"):
        load_experiment(config)


def with_logistic(inverse_penalty: object, validation_fraction: float = 0.1) -> dict[str, Any]:
    """The paper's config with a logistic head on a table of generated folds."""
    config = variant_of({}, heads=["probe"])
    config["heads"].append({"name": "probe", "kind": "logistic", "inverse_penalty": inverse_penalty, "balanced": True})
    for task in config["tasks"]:
        task["folds"] = task["folds"] | {"validation_fraction": validation_fraction}
    return config


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (0, r"config.heads.probe.inverse_penalty: input should be greater than 0 \(it is 0\)"),
        ("weak", r"config.heads.probe.inverse_penalty: .*valid number.*'weak'"),
        ([], r"config.heads.probe.inverse_penalty: .*at least 1 item"),
        ([1, -1], r"config.heads.probe.inverse_penalty.1: input should be greater than 0 \(it is -1\)"),
    ],
)
def test_penalties_are_above_zero(given: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_experiment(with_logistic(given))


def test_several_penalties_need_validation_slides() -> None:
    assert load_experiment(with_logistic([0.1, 1])).heads_on("nsclc_subtype")
    assert load_experiment(with_logistic(1, validation_fraction=0)).heads_on("nsclc_subtype")
    with pytest.raises(
        UserError, match=r"heads.probe.inverse_penalty: .* of which task nsclc_subtype has none; give it"
    ):
        load_experiment(with_logistic([0.1, 1], validation_fraction=0))


def test_a_table_may_not_have_the_name_of_anothers_differences() -> None:
    config = copy.deepcopy(PAPER)
    config["tables"].insert(0, config["tables"][0] | {"name": "subtyping_differences"})
    with pytest.raises(
        UserError, match=r"^tables: 'subtyping_differences' is also the name of the differences of table"
    ):
        load_experiment(config)
    config["tables"] = config["tables"][:1]  # alone it shares no file
    assert load_experiment(config).tables[0].name == "subtyping_differences"


def test_hipts_recipe_is_a_preset() -> None:
    hipt = load_experiment(PAPER).head_presets["hipt"]
    assert (hipt.optimiser, hipt.learning_rate, hipt.weight_decay) == ("adam", 2e-4, 1e-5)
    assert (hipt.epochs, hipt.patience, hipt.batch_size, hipt.balanced) == (20, None, 1, True)
    assert (hipt.loss_divisor, hipt.standardise, hipt.seed) == (32, False, 1)


def test_the_report_shows_variants_with_prototypes_of_slides_that_a_table_uses() -> None:
    shown = {"report": PAPER["report"] | {"variants": ["dino", "intra", "slpd", "slpd_m2", "global"]}}
    experiment = load_experiment(PAPER | shown)
    assert [variant.name for variant in experiment.reported_on("nsclc")] == ["intra", "slpd", "slpd_m2"]
    untested = load_experiment(PAPER | shown | {"tables": PAPER["tables"][1:2]})  # slpd_m1 to slpd_m8
    # slpd_m4 comes to the same training as slpd, which it is trained as.
    assert [variant.name for variant in untested.reported_on("nsclc")] == ["slpd", "slpd_m2"]
    assert [variant.name for variant in load_experiment(PAPER).reported_on("nsclc")] == ["slpd"]  # has both terms
    intra = PAPER["variants"][:2]
    tables = [PAPER["tables"][0] | {"variants": ["dino", "intra"]}]
    alone = load_experiment(PAPER | {"variants": intra, "tables": tables})
    assert [variant.name for variant in alone.reported_on("nsclc")] == ["intra"]
    named = load_experiment(PAPER | {"report": PAPER["report"] | {"variants": ["slpd_m4"]}})
    assert [variant.name for variant in named.reported_on("nsclc")] == ["slpd"]  # its pages are those of its equal
    assert [variant.name for variant in named.reported_on("brca")] == ["slpd_m4"]
    with pytest.raises(UserError, match=r"report\.variants: no variants entry is named 'spld'; there are dino, intra"):
        load_experiment(PAPER | {"report": PAPER["report"] | {"variants": ["spld"]}})


def test_a_table_knows_its_evaluations_and_why_some_cannot_be_made() -> None:
    config = variant_of({"pretrained": {"checkpoint": None, "sha256": "0" * 64}}, tasks=["nsclc_subtype"])
    config["tables"][0].update(variants=["slpd", "new"], heads=["abmil", "knn"], metrics=["auc"])
    experiment = load_experiment(config)
    (table,) = (table for table in experiment.tables if "new" in table.variants)
    assert experiment.evaluations_of(table) == [("nsclc_subtype", "slpd", "abmil"), ("nsclc_subtype", "slpd", "knn")]
    assert experiment.unavailable_in(table) == {"new": "no weights: variants.new.pretrained.checkpoint is null"}


def test_heads_on_a_task_are_those_of_its_tables_in_the_order_of_the_config() -> None:
    config = copy.deepcopy(PAPER)
    first, second = (head["name"] for head in config["heads"][:2])
    config["tables"] = [config["tables"][0] | {"tasks": ["nsclc_subtype"], "heads": [second, first]}]
    experiment = load_experiment(config)
    assert [head.name for head in experiment.heads_on("nsclc_subtype")] == [first, second]
    assert experiment.heads_on("brca_subtype") == []


def test_recipe_has_what_the_variant_and_the_cohort_change_and_only_what_the_objective_needs() -> None:
    experiment = load_experiment(PAPER)
    cohorts = {cohort.name: cohort for cohort in experiment.cohorts}
    recipes = {
        variant.name: Recipe.of(experiment, cohorts["brca"], variant)
        for variant in experiment.variants
        if variant.trained
    }
    plain, intra, slpd = recipes["dino"], recipes["intra"], recipes["slpd"]
    assert (plain.prototypes, plain.slide_graph) == (None, None)
    assert intra.prototypes is not None
    assert intra.slide_graph is None
    assert slpd.prototypes is not None
    assert slpd.prototypes.n_prototypes == 2  # of the cohort
    assert slpd.slide_graph == experiment.slide_graph
    assert recipes["slpd_m8"].prototypes is not None
    assert recipes["slpd_m8"].prototypes.n_prototypes == 8  # of the variant
    assert (slpd.cohort, slpd.variant, slpd.min_sharpness) == ("brca", "slpd", PAPER["manifest"]["min_sharpness"])


def externally(**changes: Any) -> dict[str, Any]:  # noqa: ANN401  # any value of the config
    """The paper's config with a third cohort, on which the second task of the first cohort is tested."""
    config = copy.deepcopy(PAPER)
    config["cohorts"].append({"name": "clinic", "sheet": "clinic.csv", **changes.pop("cohort", {})})
    task = {**config["tasks"][0], "name": "external", "test_cohort": "clinic"}
    config["tasks"].append(task | changes.pop("task", {}))
    config["tables"].append({**config["tables"][0], "name": "external", "tasks": ["external"], "published": []})
    wanted = {"name": "clinic", "cohort": "clinic", "task": "nsclc_subtype", "variant": "slpd", "head": "abmil"}
    config["predictions"] = [wanted | changes.pop("prediction", {})]
    return config


def test_a_cohort_that_is_only_tested_on_pretrains_nothing() -> None:
    experiment = load_experiment(externally())
    assert experiment.trained_on("clinic") == experiment.tested_on("clinic") == experiment.reported_on("clinic") == []
    assert {variant.name for variant in experiment.read_on("clinic")} == set(experiment.tables[0].variants)
    assert {v.name for v in experiment.trained_on("nsclc")} == {
        v.name for v in load_experiment(PAPER).trained_on("nsclc")
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"task": {"test_cohort": "ward"}},
            "tasks.external.test_cohort: no cohorts with a sheet entry is named 'ward'",
        ),
        (
            {"cohort": {"regions": {"mpp": 0.25}}},
            "tasks.external.test_cohort: regions of 4096 px at 0.25 µm/px and 4096 px at 0.5 µm/px would go through one"
            " encoder, which needs one kind",
        ),
        ({"prediction": {"cohort": "nsclc"}}, "predictions.clinic.cohort: heads of task nsclc_subtype are trained on"),
        ({"prediction": {"head": "knn"}}, "predictions.clinic.head: knn is of kind knn, which keeps nothing"),
        ({"prediction": {"head": "forest"}}, "predictions.clinic: no table has variant slpd under head forest"),
        ({"prediction": {"variant": "slpd_m1", "head": "max_mil"}}, "no table has variant slpd_m1 under head max_mil"),
        (
            {"prediction": {"cohort": "ward"}},
            "predictions.clinic.cohort: no cohorts with a sheet entry is named 'ward'",
        ),
    ],
)
def test_external_tasks_and_predictions_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        load_experiment(externally(**changes))


def with_training(*entries: dict[str, Any], **changes: object) -> dict[str, Any]:
    """The paper's config with more variants, in its first table."""
    config = merged(PAPER, changes)
    config["variants"] += entries
    config["tables"][0]["variants"] += [entry["name"] for entry in entries]
    return config


def test_a_variant_may_differ_in_training_and_region_encoder() -> None:
    experiment = load_experiment(
        with_training(
            {"name": "long", "training": {"epochs": 200}},
            {"name": "wide", "region_encoder": {"width": 384}},
            {"name": "rare", "training": {"epochs_per_iteration": 7}},
        )
    )
    found = {variant.name: variant for variant in experiment.variants}
    assert experiment.training_of(found["long"]).epochs == 200 and experiment.training.epochs == 100
    assert experiment.region_encoder_of(found["wide"]).width == 384
    ends = experiment.warmups["long"], experiment.warmups["wide"]
    assert all(re.fullmatch("_[0-9a-f]{8}", end) for end in ends) and len(set(ends)) == 2
    assert experiment.warmups["rare"] == "" == experiment.warmups["slpd"]
    assert experiment.training_of(found["rare"]).epochs_per_iteration == 7
    assert experiment.trained_as("nsclc", found["long"]).name == "long"
    cohort = experiment.cohorts[0]
    assert Recipe.of(experiment, cohort, found["wide"]).region_encoder.width == 384


def test_seeds_repeat_what_is_trained_and_nothing_else() -> None:
    config = merged(PAPER, {"pretraining_seeds": [2, 0]})
    config["tables"] = [table for table in config["tables"] if table["name"] == "subtyping"]
    experiment = load_experiment(config)
    assert experiment.repeats_of("slpd") == ["slpd", "slpd.seed2"]
    assert experiment.repeats_of("vit256_mean") == ["vit256_mean"] and experiment.repeats_of("random") == ["random"]
    assert experiment.repeats_of("slpd_of_nsclc") == ["slpd_of_nsclc", "slpd_of_nsclc.seed2"]
    trained = [variant.name for variant in experiment.trained_on("nsclc")]
    names = ("dino", "intra", "inter", "slpd")
    assert trained == [*names, *(f"{name}.seed2" for name in names)]
    assert experiment.warmups_on("nsclc") == ["", ".seed2"]
    assert [variant.name for variant in experiment.reported_on("nsclc")] == ["slpd"]
    assert len(experiment.evaluations_of(experiment.tables[0])) == 2 * 4 * (2 * 4 + 2)  # HIPT's has no weights
    lent = next(variant for variant in experiment.every_variant if variant.name == "slpd_of_nsclc.seed2")
    assert lent.encoder_of is not None and lent.encoder_of.variant == "slpd.seed2"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (with_training(pretraining_seeds=[1, 2]), r"pretraining_seeds: 1, 2, without training\.seed \(0\)"),
        (with_training(pretraining_seeds=[0, 1, 1]), r"pretraining_seeds: 1 is given 2 times"),
        (
            with_training({"name": "x", "training": {"seed": 3}}, pretraining_seeds=[0, 1]),
            r"variants\.x\.training\.seed: .*pretraining_seeds",
        ),
        (
            with_training({"name": "slpd.seed1"}, pretraining_seeds=[0, 1]),
            r"slpd\.seed1 is what a repeat by pretraining_seeds is called",
        ),
        (
            with_training({"name": "x", "training": {"epoch": 3}}),
            r"variants\.x\.training\.epoch: unknown key, did you mean 'epochs'",
        ),
        (with_training({"name": "x", "region_encoder": {"width": 5}}), r"variants\.x\.region_encoder: .*divide width"),
        (
            with_training({"name": "x", "training": {"global_crop": 20}}),
            r"variants\.x\.training\.global_crop: 20 patches do not fit into a region of 16 x 16",
        ),
        (
            with_training({"name": "x", "epochs_per_iteration": 2, "training": {"epochs_per_iteration": 3}}),
            r"epochs_per_iteration stands in the variant and in its training",
        ),
        (
            with_training({"name": "x", "token_mean": True, "region_encoder": {"depth": 2}}),
            r"token_mean stands beside region_encoder",
        ),
    ],
)
def test_seeds_and_training_that_cannot_be_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_experiment(config)


def test_a_warm_up_keeps_its_name_whichever_variants_there_are() -> None:
    """Another variant that starts alike, before or after, renames nothing; starts that differ share no name."""
    long, other = {"name": "long", "training": {"epochs": 200}}, {"name": "other", "training": {"epochs": 200}}
    alone, joined = load_experiment(with_training(long)), load_experiment(with_training(other, long))
    assert alone.warmups["long"] == joined.warmups["long"] == joined.warmups["other"]
    odd = {"name": "a.seed1", "training": {"epochs": 300}}
    seeded = {"name": "b", "training": {"epochs": 200, "seed": 1}}
    experiment = load_experiment(with_training({"name": "a", "training": {"epochs": 200}}, seeded, odd))
    names = [experiment.warmups[name] for name in ("a", "b", "a.seed1", "slpd")]
    assert len(set(names)) == 4 and names[1] == f"{names[0]}.seed1" and names[3] == ""
    assert {end: start.training.epochs for end, start in experiment.starts.items()}[names[2]] == 300


def test_an_encoder_that_is_lent_has_its_lenders_shape() -> None:
    deep, lent = {"name": "deep", "region_encoder": {"depth": 12}}, {"name": "lent"}
    experiment = load_experiment(with_training(deep, lent | {"encoder_of": {"cohort": "nsclc", "variant": "deep"}}))
    assert experiment.region_encoder_of(experiment.variants[-1]).depth == 12


def test_values_that_are_the_same_are_trained_once() -> None:
    """YAML takes 5e-4 for a text; as a learning rate it is the section's own."""
    experiment = load_experiment(with_training({"name": "same", "training": {"learning_rate": "5e-4"}}))
    assert experiment.trained_as("nsclc", experiment.variants[-1]).name == "slpd"


def test_a_prediction_by_a_repeat_is_refused() -> None:
    wanted = {"name": "x", "cohort": "brca", "task": "nsclc_subtype", "variant": "slpd.seed1", "head": "abmil"}
    with pytest.raises(UserError, match=r"predictions\.x: no table has variant slpd\.seed1"):
        load_experiment(with_training(pretraining_seeds=[0, 1], predictions=[wanted]))
