r"""A table as LaTeX, for `\input` in a paper that loads booktabs."""

from itertools import groupby

from slpd.tables.content import TableContent
from slpd.tables.facts import TaskFacts

MATHEMATICS = """±pm ×times ≤leq ≥geq ≈approx ≠neq →rightarrow ∞infty αalpha βbeta γgamma δdelta εepsilon ζzeta ηeta
θtheta ιiota κkappa λlambda μmu νnu ξxi πpi ρrho ςvarsigma σsigma τtau υupsilon φphi χchi ψpsi ωomega ΓGamma ΔDelta
ΘTheta ΛLambda ΞXi ΠPi ΣSigma ΥUpsilon ΦPhi ΨPsi ΩOmega"""  # characters before their names in formulas
LAST_LATIN = "\u017f"  # letters up to here, accents included, every LaTeX sets
ALSO_SET = "“”‘’—†‡•"
ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",
    "…": r"\dots{}",
    "²": r"\textsuperscript{2}",
    "³": r"\textsuperscript{3}",
    "µ": r"$\mu$",
    "−": "$-$",
    "ο": "o",
    **{character: f"$\\{name}$" for character, name in ((word[0], word[1:]) for word in MATHEMATICS.split())},
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def as_latex(content: TableContent) -> str:
    """A `table` environment; the caption carries legend, facts of each task and left-out slides."""
    caption = " ".join(
        [
            f"{escape(' '.join(content.caption.split()).rstrip('.'))}.",
            escape(content.legend),
            *(f"Published {escape(text.rstrip('.'))}." for text in content.source_texts),
            *map(facts, content.tasks),
        ]
    )
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:{content.name}}}",
        rf"\begin{{tabular}}{{ll{'c' * len(content.printed)}}}",
        r"\toprule",
        *header(content),
        r"\midrule",
    ]
    for row in content.rows:
        cells = [bold(escape(cell.text), cell.is_best) for cell in content.printed_cells(row)]
        lines.append(" & ".join([escape(row.head), escape(row.variant), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def header(content: TableContent) -> list[str]:
    """Two header lines, tasks over metrics, with a rule under each task."""
    tasks, rules, column = ["", ""], [], 3  # the first two columns are head and variant
    for task, group in groupby(content.printed, key=lambda column: column[0]):
        width = len(list(group))
        tasks.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(task)}}}")
        rules.append(rf"\cmidrule(lr){{{column}-{column + width - 1}}}")
        column += width
    metrics = ["head", "variant", *(escape(title) for _, title in content.printed)]
    return [" & ".join(tasks) + r" \\", " ".join(rules), " & ".join(metrics) + r" \\"]


def facts(task: TaskFacts) -> str:
    """The facts of a task and its left-out slides."""
    left_out = f" Left out: {'; '.join(task.left_out_texts)}." if task.left_out else ""
    return escape(task.text + left_out)


def bold(text: str, best: bool) -> str:
    """The text, bold if it is the best of its column; the ± keeps its own weight."""
    return rf"\textbf{{{text}}}" if best else text


def escape(text: str) -> str:
    """The text with every character that LaTeX would interpret, or could not set, replaced."""
    return "".join(
        ESCAPES.get(character, character if is_set(character) else character_number(character)) for character in text
    )


def is_set(character: str) -> bool:
    """Whether LaTeX has the character in its ordinary fonts."""
    return character <= LAST_LATIN or character in ALSO_SET


def character_number(character: str) -> str:
    """A character by its number, which stops no paper from being set."""
    return f"[U+{ord(character):04X}]"
