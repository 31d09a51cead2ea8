r"""A table as LaTeX, for `\input` in a paper that loads booktabs."""

from itertools import groupby

from slpd.tables.content import TableContent
from slpd.tables.facts import TaskFacts

ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "–": "--",
    "µ": r"$\mu$",
    "×": r"$\times$",
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
    """The text with every character that LaTeX would interpret replaced."""
    return "".join(ESCAPES.get(character, character) for character in text)
