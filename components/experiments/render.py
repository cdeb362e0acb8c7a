"""Tables as Markdown and LaTeX."""

from __future__ import annotations

from components.experiments.tables import Table

_LATEX = {
    "\\": r"\textbackslash{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "²": r"$^2$",
    "–": "--",
    "<": r"$<$",
    "−": "$-$",
}


def as_markdown(table: Table) -> str:
    """A pipe table; emphasised rows are bold."""
    rule = ["---" if column < table.text_columns else "---:" for column in range(len(table.headings))]
    lines = [_pipes(table.headings), "|" + "|".join(rule) + "|"]
    for index, row in enumerate(table.rows):
        bold = index in table.emphasised
        lines.append(_pipes(tuple(f"**{cell}**" for cell in row) if bold else row))
    return "\n".join(lines)


def as_latex(table: Table) -> str:
    """A table environment with booktabs rules; emphasised rows are bold."""
    columns = "l" * table.text_columns + "r" * (len(table.headings) - table.text_columns)
    lines = [
        r"\begin{table}",
        r"\centering",
        f"\\caption{{{latex_text(table.title)}}}",
        f"\\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(latex_text(text) for text in table.headings) + r" \\",
        r"\midrule",
    ]
    for index, row in enumerate(table.rows):
        cells = [latex_text(cell) for cell in row]
        if index in table.emphasised:
            cells = [f"\\textbf{{{cell}}}" for cell in cells]
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"])


def latex_text(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    return "".join(_LATEX.get(letter, letter) for letter in text)


def _pipes(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
