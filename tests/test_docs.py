"""The documentation is true: its commands run, its links lead somewhere, what it names is there.

Every command of README.md, docs/ and config/README.md runs as it stands, page by page, in a copy of the project in
which the toy cohort is the reader's own experiment (`config/mine.yaml`). CHECKED has those that cannot, with what is
done instead and why; an entry that no page needs any more fails, as does a command that is neither there nor works.
"""

import argparse
import ast
import importlib
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import doc_commands
import pytest
import toy
import yaml
from doc_commands import ROOT, Command
from PIL import Image
from pydantic import BaseModel
from snakemake.utils import update_config

from slpd.__main__ import STAGES
from slpd.settings.experiment import Experiment
from slpd.settings.load import load_experiment
from slpd.settings.section import nested

PAGES = doc_commands.pages()
NOT_COPIED = (".*", "__pycache__", "*.egg-info", "data", "logs", "results", "weights", "cohorts", "tests")

# Places that readers have and the copy does not -> where they are in it.
PLACES = {
    "/path/to/slpd/": "",
    "/path/to/mine.yaml": "config/mine.yaml",
    "/data/run": ".",
    "/data/": "data/",
    "/other/results/mine": "results/mine",
    "DATA=folder": "DATA=tiles",
}

# Command -> what is run instead, and why.
PARSED = "parsed by its own parser"
IMAGE = "needs Apptainer or Docker, and a network"
CLUSTER, HOURS, SERVER = (
    "needs a cluster",
    "takes minutes to hours, and has tests of its own",
    "serves until it is stopped",
)
TRIDENT = (
    "python run_batch_of_slides.py --task all --wsi_dir wsis --job_dir trident "
    "--patch_encoder uni_v1 --mag 20 --patch_size 256 --overlap 0"
)
CLAM_PATCHES = (
    "python create_patches_fp.py --source wsis --save_dir clam "
    "--patch_size 512 --step_size 512 --patch_level 0 --seg --patch"
)
CLAM_FEATURES = (
    "python extract_features_fp.py --data_h5_dir clam --data_slide_dir wsis "
    "--csv_path clam/process_list_autogen.csv "
    "--feat_dir clam/features --model_name uni_v1"
)
CHECKED: dict[str, tuple[str, str]] = {
    "make demo": ("make -n demo", HOURS),
    "make test": ("make -n test", HOURS),
    "make demo PYTHON=/path/to/python3.11": ("make -n demo PYTHON=/path/to/python3.11", HOURS),
    "make trial DATA=folder": ("make -n trial DATA=folder", HOURS),
    "make test-slurm DEMO=yes": ("make -n test-slurm DEMO=yes", CLUSTER),
    "make check": ("make -n check", HOURS),
    "make reruns": ("make -n reruns", "writes a page of the documentation"),
    "snakemake --report": (
        "snakemake --configfile config/mine.yaml --report report.zip",
        "names no config of the reader's",
    ),
    "make slurm CONFIG=config/mine.yaml": ("make -n slurm CONFIG=config/mine.yaml", CLUSTER),
    "python -m slpd doctor --profile slurm --configfile config/mine.yaml": (PARSED, CLUSTER),
    "python -m slpd recover": (PARSED, CLUSTER),
    "python -m slpd recover --cancel": (PARSED, CLUSTER),
    "python -m slpd recover --head-is-gone": (PARSED, CLUSTER),
    "snakemake --profile slurm": ("snakemake --profile slurm -n", CLUSTER),
    "snakemake --profile slurm tables": ("snakemake --profile slurm -n tables", CLUSTER),
    "snakemake tables": ("snakemake -n tables", HOURS),
    "snakemake --profile slurm --configfile config/mine.yaml": (
        "snakemake --profile slurm --configfile config/mine.yaml -n",
        CLUSTER,
    ),
    "snakemake -s /path/to/slpd/Snakefile --directory /data/run --profile /path/to/slpd/slurm"
    " --configfile /path/to/mine.yaml": (
        "snakemake -s /path/to/slpd/Snakefile --directory /data/run --profile /path/to/slpd/slurm"
        " --configfile /path/to/mine.yaml -n",
        CLUSTER,
    ),
    "snakemake --workflow-profile /path/to/slpd/workflow/profiles/default": (
        "snakemake --workflow-profile /path/to/slpd/workflow/profiles/default -n",
        HOURS,
    ),
    "snakemake --profile /path/to/slpd/slurm": ("snakemake --profile /path/to/slpd/slurm -n", CLUSTER),
    "python -m slpd failures --since 0": (PARSED, CLUSTER),
    "snakemake --profile slurm --configfile config/try.yaml": (
        "snakemake --profile slurm --configfile config/try.yaml -n",
        CLUSTER,
    ),
    'make run CONFIG="config/mine.yaml --forcerun encode_patches"': (
        'make run CONFIG="config/mine.yaml --forcerun encode_patches -n"',
        HOURS,
    ),
    'make run CONFIG="config/encoders/uni.yaml config/mine.yaml"': (
        'make run CONFIG="config/encoders/uni.yaml config/mine.yaml -n"',
        HOURS,
    ),
    "make run CONFIG=config/first.yaml": ('make run CONFIG="config/first.yaml -n"', "needs real weights"),
    "tensorboard --logdir logs/mine/training": (
        "tensorboard --inspect --logdir logs/mine/training",
        "serves until it is stopped",
    ),
    "python docs/pictures.py results/demo/report": ("python -m py_compile docs/pictures.py", "needs Chromium"),
    "gdc-client download -m gdc_manifest.txt -d /data/tcga/nsclc": ("test -s gdc_manifest.txt", "needs the GDC"),
    "snakemake --configfile config/demo.yaml --rulegraph dot -- results/demo/tables/demo.md"
    " | dot -Grankdir=LR -Gdpi=84 -Tpng > docs/pictures/rulegraph.png": (
        "snakemake --configfile config/mine.yaml --rulegraph dot -- results/mine/tables/toy.md",
        "needs Graphviz and the demo's slides",
    ),
    "python -m slpd init --slides /data/slides --experiment lung": (
        "python -m slpd init --slides slides --experiment lung",
        "slides of a reader's",
    ),
    "python -m slpd init --slides FOLDER": (PARSED, "names a folder of the reader's"),
    "apptainer build slpd.sif envs/slpd.def": ("test -s envs/slpd.def", IMAGE),
    'snakemake --profile slurm --sdm apptainer --apptainer-args "--nv --bind /data" --configfile config/mine.yaml': (
        "snakemake --profile slurm --configfile config/mine.yaml -n",
        IMAGE,
    ),
    "docker build --file envs/Dockerfile --tag slpd .": ("test -s envs/Dockerfile", IMAGE),
    'docker run --gpus all --volume "$PWD":/run --volume /data:/data --workdir /run slpd snakemake -s'
    " /opt/slpd/Snakefile --workflow-profile /opt/slpd/workflow/profiles/default --configfile config/mine.yaml": (
        "snakemake -s Snakefile --workflow-profile workflow/profiles/default --configfile config/mine.yaml -n",
        IMAGE,
    ),
    "pytest tests/test_slide_graph.py": ("pytest --version", "tests are not in the copy"),
    "pytest tests/test_schema.py -k shipped": ("pytest --version", "tests are not in the copy"),
    "pytest -rP tests/test_golden.py tests/test_patch_encoder.py": ("pytest --version", "tests are not in the copy"),
    TRIDENT: ("python --version", "another program; its options are compared with its source's"),
    CLAM_PATCHES: ("python --version", "another program; its options are compared with its source's"),
    CLAM_FEATURES: ("python --version", "another program; its options are compared with its source's"),
    "make run CONFIG=config/uni.yaml": ('make run CONFIG="config/uni.yaml -n"', HOURS),
    "make why CONFIG=...": ("make why CONFIG=config/mine.yaml", "names a file of the reader's"),
}

# Config files that pages show whole, by their experiment, and where a reader saves them.
SHOWN = {"try": "config/try.yaml", "first": "config/first.yaml", "uni": "config/uni.yaml"}

# Options of other programs' scripts that pages use, by their argument parsers (TRIDENT a91fa84, CLAM 53e2409).
OPTIONS = {
    TRIDENT: {
        *("--task", "--wsi_dir", "--job_dir", "--patch_encoder", "--mag", "--patch_size", "--overlap", "--segmenter"),
    },
    CLAM_PATCHES: {"--source", "--save_dir", "--patch_size", "--step_size", "--patch_level", "--seg", "--patch"},
    CLAM_FEATURES: {"--data_h5_dir", "--data_slide_dir", "--csv_path", "--feat_dir", "--model_name", "--slide_ext"},
}


# ---- commands ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, make_slide: toy.MakeSlide) -> Path:
    """The project as a reader has it after `make run CONFIG=config/mine.yaml`, with what pages tell him to fetch."""
    folder = tmp_path_factory.mktemp("docs") / "slpd"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NOT_COPIED), symlinks=True)
    link_environment(folder / ".venv")
    toy.make_toy(folder, make_slide, toy.one_variant() | {"experiment": "mine"})
    (folder / "toy.yaml").rename(folder / "config/mine.yaml")
    write_tcga(folder)
    run = shell(folder, "make run CONFIG=config/mine.yaml")
    assert run.returncode == 0, run.stdout + run.stderr
    encoder = folder / "results/mine/cohorts/toy/variants/slpd/encoder/region_encoder.safetensors"
    shutil.copy(encoder, folder / encoder.name)
    return folder


def link_environment(venv: Path) -> None:
    """The environment that runs this test as `.venv`, ready: `make` must not set up another one."""
    venv.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (venv / name).symlink_to(Path(sys.prefix) / name)
    (venv / "ready").touch()


def write_tcga(folder: Path) -> None:
    """What docs/tcga.md has the reader fetch, for a few slides, and the sheets that come of it."""
    slides = [f"TCGA-AA-{i:04d}-01Z-00-DX1.X" for i in range(60)]
    for name, cohort in (("nsclc", slides), ("brca", slides), ("try", slides[:20]), ("lung_first", slides[:20])):
        lines = ["slide,path,patient,mpp,oncotree_code"]
        for i, slide in enumerate(cohort):
            path = folder / f"data/tcga/{name}/{i}/{slide}.svs"
            path.parent.mkdir(parents=True)
            path.write_bytes(b"a slide")
            code = {"nsclc": ("LUAD", "LUSC"), "brca": ("IDC", "ILC")}.get(name, ("", ""))[i % 2]
            lines.append(f"{slide},{path.relative_to(folder)},{slide[:12]},0.25,{code}")
        sheet = folder / f"config/cohorts/{f'tcga_{name}' if name in ('nsclc', 'brca') else name}.csv"
        sheet.parent.mkdir(exist_ok=True)
        sheet.write_text("\n".join(lines) + "\n")
    rows = [
        f"{i},{slide[:12]},{slide}.svs,9.5,{i % 3 > 0:d}.0,{('LUAD', 'LUSC')[i % 2]}" for i, slide in enumerate(slides)
    ]
    with zipfile.ZipFile(folder / "tcga_lung_subset.csv.zip", "w") as file:
        table = [",case_id,slide_id,survival_months,censorship,oncotree_code", *rows]
        file.writestr("tcga_lung_subset.csv", "\n".join(table) + "\n")
    (folder / "tcga_lung").mkdir()
    (folder / "tcga_lung/splits_0.csv").write_text(f",train,val,test\n0,{slides[0]},,{slides[1]}\n")
    (folder / "gdc_manifest.txt").write_text("id\tfilename\tmd5\tsize\tstate\na\ta.svs\t0\t2000000000\treleased\n")
    features = folder / "trident/20x_256px_0px_overlap/features_uni_v1"
    features.mkdir(parents=True)
    lines = ["slide,path,patient,mpp,subtype"]
    for i, slide in enumerate(slides):
        (features / f"{slide}.h5").write_bytes(b"features")
        lines.append(f"{slide},{features.relative_to(folder)}/{slide}.h5,{slide[:12]},,{('LUAD', 'LUSC')[i % 2]}")
    (folder / "config/cohorts/uni.csv").write_text("\n".join(lines) + "\n")
    (folder / "weights").mkdir()
    (folder / "weights/vit256_small_dino.pth").touch()


@cache  # several pages have the same command
def shell(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the copy, as after `source .venv/bin/activate`; once, however often it is asked for."""
    words = ["bash", "-euo", "pipefail", "-c", f"source .venv/bin/activate; {command}"]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.workflow
@pytest.mark.parametrize("page", [str(page.relative_to(ROOT)) for page in PAGES])
def test_every_command_of_a_page_runs(checkout: Path, page: str) -> None:
    for path in shown_configs(ROOT / page):
        (checkout / SHOWN[path["experiment"]]).write_text(yaml.safe_dump(path))
    for command in doc_commands.commands(ROOT / page):
        instead, _ = CHECKED.get(command.text, (command.text, ""))
        if instead == PARSED or command.text.startswith("python -m benchmarks."):  # which take minutes to hours
            parse(command)
            continue
        run = shell(checkout, placed(instead))
        assert run.returncode == 0, f"{page}: {command.text}\nran: {instead}\n{run.stdout}{run.stderr}"


def placed(command: str) -> str:
    """A command with the reader's places replaced by the copy's."""
    for place, here in PLACES.items():
        command = command.replace(place, here)
    return command


def parse(command: Command) -> None:
    """Have a command's own parser take its words; of a benchmark, its help must name its options."""
    _, _, module, *words = shlex.split(command.text)
    if module == "slpd":
        stage = importlib.import_module(f"slpd.stages.{words[0]}")
        parser = argparse.ArgumentParser(exit_on_error=False)
        stage.add_arguments(parser)
        parser.parse_args(words[1:])
        return
    usage = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert {word for word in words if word.startswith("--")} <= set(re.findall(r"--[\w-]+", usage.stdout)), command


@pytest.mark.parametrize("command", OPTIONS)
def test_commands_of_other_programs_have_their_options(command: str) -> None:
    assert {word for word in command.split() if word.startswith("--")} <= OPTIONS[command]


def test_what_stands_in_for_commands_is_needed() -> None:
    texts = {command.text for page in PAGES for command in doc_commands.commands(page)}
    assert set(CHECKED) - texts == set(), "no page has these any more: take them out of CHECKED"
    used = " ".join([*texts, *(instead for instead, _ in CHECKED.values())])
    assert [place for place in PLACES if place not in used] == []


def test_every_line_of_a_shell_block_is_a_command() -> None:
    strange = []
    for page in PAGES:
        for block in doc_commands.code_blocks(page.read_text()):
            lines = list(doc_commands.logical_lines(block))
            if any(map(doc_commands.is_command, lines)):
                strange += [f"{page.name}: {line}" for line in lines if not doc_commands.is_command(line)]
    assert strange == [], "not commands, or of a program that tests/doc_commands.py does not know"


def shown_configs(page: Path) -> list[dict[str, Any]]:
    """The config files that a page shows whole."""
    blocks = [block for block in doc_commands.code_blocks(page.read_text()) if block.startswith("experiment: ")]
    return [config for config in map(yaml.safe_load, blocks) if config["experiment"] in SHOWN]


# ---- config files --------------------------------------------------------------------------------------------------


def defaults() -> dict[str, Any]:
    """config/config.yaml as data."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    return content


def test_config_pieces_are_taken() -> None:
    """Every block that is YAML of the config's sections, set into config/config.yaml, makes a valid experiment."""
    n_checked = 0
    for page in PAGES:
        for block in doc_commands.code_blocks(page.read_text()):
            piece = config_piece(block)
            if piece is not None:
                n_checked += 1
                load_experiment(merged(piece))
    assert n_checked > 5


def config_piece(block: str) -> dict[str, Any] | None:
    """A block's sections of the config; None if it has other things."""
    try:
        piece = yaml.safe_load(block)
    except yaml.YAMLError:
        return None
    known = isinstance(piece, dict) and set(piece) <= set(Experiment.model_fields)
    return piece if known else None


def merged(piece: dict[str, Any]) -> dict[str, Any]:
    """The paper's config with a piece of another, whose entries of lists come to those that others refer to."""
    config = defaults()
    for section, value in piece.items():
        if isinstance(value, list) and value:
            names = {entry["name"] for entry in value}
            value += [entry for entry in config[section] if entry["name"] not in names]
    update_config(config, piece)
    return config


# ---- names ---------------------------------------------------------------------------------------------------------


def test_make_targets_stages_and_benchmarks_that_pages_name_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        text = page.read_text()
        code = " ; ".join([*doc_commands.inline_code(text), *(c.text for c in doc_commands.commands(page))])
        assert set(re.findall(r"(?<![\w`])make ([a-z][\w-]*)", code)) <= targets, page.name
        assert set(re.findall(r"python -m slpd ([a-z]\w*)", code)) <= STAGES.keys(), page.name
        for benchmark in re.findall(r"python -m benchmarks\.(\w+)", code):
            place = ROOT / "benchmarks" / benchmark
            assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file(), page.name


def test_every_benchmark_is_on_its_page() -> None:
    page = (ROOT / "benchmarks/README.md").read_text()
    unnamed = [file.name for file in (ROOT / "benchmarks").glob("*.py") if f"`{file.name}`" not in page]
    assert not unnamed


def test_config_keys_that_pages_name_exist() -> None:
    unknown = []
    for page in PAGES:
        if page.name == "CHANGELOG.md":  # has keys of the past
            continue
        for code in doc_commands.inline_code(page.read_text()):
            key = re.fullmatch(r"([a-z_]+)((?:\.[a-z_0-9]+)+)(?:[:=].*)?", code)
            if (
                key
                and not FILE_NAME.search(code)
                and key[1] in Experiment.model_fields
                and not has_key(code.split(":")[0].split("=")[0].strip())
            ):
                unknown.append(f"{page.name}: {code}")
    assert unknown == []


FILE_NAME = re.compile(r"\.(csv|json|md|npz|py|safetensors)$")


def has_key(dotted: str) -> bool:
    """Whether the config has a key. The second word may be the name of an entry: `variants.slpd.objective`."""
    section, *rest = dotted.split(".")
    keys = set(all_keys(Experiment))
    content = defaults()[section]
    names = {entry["name"] for entry in content} if isinstance(content, list) else set(content)
    return (section, *rest) in keys or (rest[0] in names and (section, *rest[1:]) in keys)


def all_keys(model: type[BaseModel]) -> list[tuple[str, ...]]:
    """Every key of a model, as a path of names."""
    found: list[tuple[str, ...]] = []
    for name, field in model.model_fields.items():
        found.append((name,))
        for inner in nested(field.annotation):
            found += [(name, *rest) for rest in all_keys(inner)]
    return found


def test_identifiers_that_pages_name_exist_in_the_project() -> None:
    places = ["slpd", "workflow", "config", "slurm", "tests", "benchmarks", "envs"]
    files = [path for place in places for path in (ROOT / place).rglob("*") if path.suffix in SOURCES]
    files += [ROOT / name for name in ("Snakefile", "Makefile", "pyproject.toml")]
    words = {word for path in files for word in re.findall(r"[A-Za-z_][A-Za-z_0-9]*", path.read_text())}
    for page in PAGES:
        named = {
            code for code in doc_commands.inline_code(page.read_text()) if re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)+", code)
        }
        assert page.name == "CHANGELOG.md" or named - words - FOREIGN == set(), page.name


SOURCES = {".py", ".smk", ".yaml", ".csv", ".sh", ".j2", ".js"}
FOREIGN = {"g_s", "g_t", "vit256_on_256", "mask_qc"}  # symbols of the paper, names of other programs


def test_files_of_the_project_that_pages_name_exist() -> None:
    """Paths in backticks; those of results, and of files that the reader makes, aside."""
    missing = []
    for page in PAGES:
        for code in doc_commands.inline_code(page.read_text()):
            if re.fullmatch(r"(slpd|docs|tests|benchmarks|workflow|slurm|envs)/[\w./-]+", code):
                missing += [f"{page.name}: {code}"] * (not (ROOT / code).exists())
    assert missing == []


# ---- messages ------------------------------------------------------------------------------------------------------

# Messages of other programs in docs/faq.md.
FOREIGN_MESSAGES = {
    "CUDA out of memory",
    "Config file tables not found",
    "Directory cannot be locked",
    "No such file or directory: '.../.cache'",
}


def test_messages_in_the_faq_are_those_of_the_code() -> None:
    """A symptom in backticks that reads like a message (it has a blank) stands in a text of slpd/ or workflow/."""
    texts = (
        "\n".join(
            message
            for folder in ("slpd", "workflow")
            for path in (ROOT / folder).rglob("*.py")
            for message in texts_of(path)
        )
        + (ROOT / "workflow/rules/common.smk").read_text()
    )
    rows = re.findall(r"^\| (?!message|symptom|---)([^|]+) \|[^|]+\|[^|]+\|$", (ROOT / "docs/faq.md").read_text(), re.M)
    assert len(rows) > 50
    symptoms = {code for row in rows for code in re.findall(r"`([^`]+)`", row) if " " in code} - FOREIGN_MESSAGES
    assert [symptom for symptom in symptoms if symptom not in texts] == []


def texts_of(path: Path) -> list[str]:
    """The texts of a module; in place of formatted values a blank sign."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values]
            found.append("".join(parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


def test_no_file_holds_both_sides_of_a_merge() -> None:
    search = ["git", "grep", "-nE", "^(<{7}|>{7}) "]
    found = subprocess.run(search, cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode > 1:
        pytest.skip("not a git checkout")
    assert found.stdout == ""


# ---- links and pictures --------------------------------------------------------------------------------------------


def test_links_lead_to_files_and_headings_that_exist() -> None:
    dangling = []
    for page in PAGES:
        for link in doc_commands.links(page.read_text()):
            if re.match(r"https?://|mailto:", link):
                continue
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            if not target.exists():
                dangling.append(f"{page.name}: {link}")
            elif anchor and anchor not in doc_commands.anchors(target.read_text()):
                dangling.append(f"{page.name}: {link} (no such heading)")
    assert dangling == []


def test_every_page_of_docs_is_in_the_index() -> None:
    index = doc_commands.links((ROOT / "docs/README.md").read_text())
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"} <= set(index)
    assert "docs/README.md" in doc_commands.links((ROOT / "README.md").read_text())


def test_pictures_are_shown_described_and_small() -> None:
    shown: set[Path] = set()
    for page in PAGES:
        for alt, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", page.read_text()):
            assert len(alt) > 10, f"{page.name}: {target}: say what the picture shows"
            shown.add((page.parent / target).resolve())
    pictures = set((ROOT / "docs/pictures").glob("*"))
    assert pictures == shown
    for picture in pictures:
        assert picture.stat().st_size < 300_000, picture
        Image.open(picture).verify()


# ---- the test itself -----------------------------------------------------------------------------------------------


def test_commands_are_found_in_blocks_lists_and_text() -> None:
    text = (
        "Say `make demo` or `make run CONFIG=a.yaml`.\n\n    make one  # why\n    python -m slpd \\\n      two\n\n"
        "1. Item\n\n       make three\n\n   more\n\nplain\n\n```bash\nmake four\n```\n\n    key: value\n"
    )
    blocks = list(doc_commands.code_blocks(text))
    lines = [line for block in blocks if doc_commands.is_shell(block) for line in doc_commands.logical_lines(block)]
    assert lines == ["make four", "make one", "python -m slpd two", "make three"]
    assert "key: value" in blocks
    assert doc_commands.inline_code(text) == ["make demo", "make run CONFIG=a.yaml"]
