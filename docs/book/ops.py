"""What each op is: its formula and derivative, where it is defined, its values at the edges, and a plot of both.

Knows the table of ops, of which all is made: rules are run on SymPy's symbols, rows are called; nothing of the site.
"""

import ast
import functools
import math
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import fgrad
from docs.book import api, theme
from docs.book.api import Entry
from docs.book.pages import PICTURES
from fgrad.node import TABLE
from fgrad.show.formula import formula

if TYPE_CHECKING:
    import sympy as sp

Function: TypeAlias = Callable[..., float]
Section: TypeAlias = tuple[str, str, list[Entry]]
_ARRAYS: Final = {
    "Shapes": ["shaping", "rearranging"],
    "Picking and sorting": ["selecting", "interpolating"],
    "Sums and other reductions": ["reducing", "accumulating"],
    "Products of matrices": ["linalg", "products", "contracting"],
    "Linear algebra": ["solving", "determinants", "factoring", "decompositions", "norms", "matrices"],
    "Convolutions": ["convolving", "correlating"],
}
# What is written with the rows, below the table, stands beside its kin.
_MOVED: Final = {
    "where": "steps and choices",
    "clip": "steps and choices",
    "sinc": "trigonometry",
    "scale": "arithmetic",
}
_KINDS: Final = {
    "linear": "Linear, so that its derivative is the op itself.",
    "constant": "A constant to every derivative.",
}
_ROWS: Final = ("linear", "constant", "primitive", "separate", "several", "Op")
_COMPOSED: Final = "Composed of other ops, whose rules give its derivative by the chain rule."
_POINTS: Final = (-math.inf, -1.0, -0.0, 0.0, 1.0, math.inf, math.nan)
_INF: Final = math.inf
_PAIRS: Final = (
    (0, 0),
    (1, 1),
    (1, 2),
    (0, 1),
    (1, 0),
    (-1, 0.5),
    (0, _INF),
    (_INF, _INF),
    (_INF, -_INF),
    (math.nan, 1),
)
_LONGEST: Final = 200  # characters of LaTeX that are still a formula one reads


def is_op(entry: Entry) -> bool:
    """Whether a name is an op's, and not what rows are made with."""
    return entry.module.startswith("fgrad.ops.") and entry.module != "fgrad.ops.rows"


def arguments(entry: Entry) -> str | None:
    """The arguments of a row that its kind gives it; None for what is written as a function."""
    kind = getattr(entry.definitions[-1], "annotation", None)
    return {"Unary": "x, /", "Binary": "x, y, /"}.get(kind.id) if isinstance(kind, ast.Name) else None


# --- pages -----------------------------------------------------------------------------------------------------------
@functools.cache
def pages() -> list[tuple[str, str, list[Section]]]:
    """Every page of ops: its slug, its title, and its sections, each a heading, a sentence and its entries."""
    entries = [e for name in api.names("fgrad") if (e := api.find("fgrad", name)) is not None and is_op(e)]
    by_title: dict[str, list[Section]] = {}
    for title, found in _elementwise([e for e in entries if e.module == "fgrad.ops.elementwise"]).items():
        by_title[title.capitalize()] = [("", "", found)]
    by_title["Special functions"] = [_section(entries, "special", heading="")]
    for title, modules in _ARRAYS.items():
        sections = [_section(entries, module) for module in modules]
        by_title[title] = [section for section in sections if section[2]]
    seen = {e.name for sections in by_title.values() for _, _, found in sections for e in found}
    left = [e for e in entries if e.name not in seen]
    if left:
        by_title["Others"] = [("", "", left)]
    return [(re.sub(r"\W+", "-", title.lower()), title, sections) for title, sections in by_title.items()]


def _elementwise(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """The ops by the headings between the rows of the table."""
    lines = api.text("fgrad.ops.elementwise").split("\n")
    heads = [(i, m[1]) for i, line in enumerate(lines, 1) if (m := re.match(r"# --- (.+?)(?::.*?)? -+$", line))]
    found: dict[str, list[Entry]] = {title: [] for _, title in heads}
    for entry in sorted(entries, key=lambda e: e.line):
        own = [title for line, title in heads if line < entry.line]
        found[_MOVED.get(entry.name, own[-1])].append(entry)
    return found


def _section(entries: Sequence[Entry], module: str, heading: str | None = None) -> Section:
    """The ops of a module, under what its docstring says first."""
    own = sorted([e for e in entries if e.module == f"fgrad.ops.{module}"], key=lambda e: e.line)
    doc = (ast.get_docstring(api.syntax(f"fgrad.ops.{module}")) or "").split("\n\n")[0] if own else ""
    return (module.capitalize() if heading is None else heading), api.escaped(doc), own


# --- an op -----------------------------------------------------------------------------------------------------------
def told(entry: Entry) -> str:
    """Everything that the table says of an op, as Markdown."""
    parts = [*_formulas(entry), *_domain(entry), _edges(entry), *_words(entry), *_row(entry)]
    return "\n\n".join(part for part in parts if part)


def _function(entry: Entry) -> Function:
    return cast("Function", getattr(fgrad, entry.name))


def _arity(entry: Entry) -> int:
    """How many numbers an elementwise op takes; 0 for what takes arrays, or settings."""
    if (given := arguments(entry)) is not None:
        return given.count(",")
    node = entry.definitions[-1]
    is_unary = isinstance(node, ast.FunctionDef) and len(node.args.args) == 1 and not node.args.kwonlyargs
    return 1 if is_unary and entry.module == "fgrad.ops.elementwise" else 0


# --- formulas --------------------------------------------------------------------------------------------------------
def _formulas(entry: Entry) -> Iterator[str]:
    """The formula, and the rules of the row, or the gradient of what has no row, as formulas."""
    arity = _arity(entry)
    if not arity:
        return
    names = ("x", "y")[:arity]
    head = f"f({', '.join(names)})"
    lines = [(head, _latex(_function(entry), names))]
    partials = getattr(TABLE.get(entry.name), "partials", None)
    if partials is not None:
        rules = [_rule(partial) for partial in partials]
        lines += [
            (_derivative(name, arity), _latex(rule, ("f", *names), head))
            for name, rule in zip(names, rules, strict=True)
        ]
    elif entry.name not in TABLE:
        lines.append((_derivative("x", 1), _latex(fgrad.grad(_function(entry)), names)))
    shown = [f"{left} &= {right}" for left, right in lines if right]
    if shown:
        yield "$$\n\\begin{aligned}\n" + " \\\\\n".join(shown) + "\n\\end{aligned}\n$$"


def _rule(partial: float | Function) -> Function:
    return partial if callable(partial) else lambda *args: partial


def _derivative(name: str, arity: int) -> str:
    return "f'(x)" if arity == 1 else rf"\frac{{\partial f}}{{\partial {name}}}"


def _latex(f: Function, names: Sequence[str], head: str = "f") -> str:
    """A function on symbols, as LaTeX; nothing where it has no meaning there or is too long to read."""
    import sympy as sp

    try:
        found = sp.sympify(formula(f)(*names).expression)
    except (fgrad.errors.FgradError, TypeError):  # TypeError: of booleans
        return ""
    if isinstance(found, sp.logic.boolalg.Boolean) and not isinstance(found, sp.Expr):  # a symbol is both
        found = sp.Piecewise((1, found), (0, True))
    found = sp.piecewise_fold(found)
    known = {x: _known(x) for x in found.atoms(sp.Float)}
    shown = str(sp.latex(found.xreplace(known), symbol_names={sp.Symbol("f", real=True): head}))
    return shown if len(shown) <= _LONGEST else ""


def _known(x: "sp.Float") -> "sp.Expr":
    """What a constant was before it was rounded."""
    import sympy as sp

    units = (sp.Integer(1), 1 / sp.sqrt(sp.pi), 1 / sp.log(2), 1 / sp.log(10), sp.log(2), sp.pi, 1 / sp.pi)
    for unit in units:
        part = sp.nsimplify(float(x) / float(unit), tolerance=1e-14, rational=True)
        if part.q <= 360 and abs(part.p) <= 360:
            return cast("sp.Expr", part * unit)
    return x


# --- values ----------------------------------------------------------------------------------------------------------
def _value(f: Function, *args: float) -> float | None:
    """The value, as a number; None for what is no number."""
    try:
        return float(f(*args))
    except (TypeError, ValueError, ArithmeticError):
        return None


def _number(x: float | None) -> str:
    if x is None:
        return "–"
    if not math.isfinite(x):
        return "nan" if x != x else "∞" if x > 0 else "−∞"
    return f"{x:.4g}".replace("-", "−")


def _slopes(entry: Entry, *args: float) -> list[float | None]:
    """The derivative by each argument."""
    places = tuple(range(len(args)))
    try:
        found = fgrad.grad(_function(entry), places)(*map(float, args))
    except (fgrad.errors.FgradError, TypeError):  # of booleans there is none
        return []
    return [float(g) for g in cast("tuple[float, ...]", found)]


def _edges(entry: Entry) -> str:
    """A table of the values at the edges, and of the derivatives; beside it the plot."""
    arity = _arity(entry)
    if not arity or not (rows := list(_rows(entry, arity))):
        return ""
    names = ("x", "y")[:arity]
    heads = [*names, "f", *([f"∂f/∂{n}" for n in names] if arity > 1 else ["f′"])][: len(rows[0])]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, ["---:"] * len(heads), *rows])
    picture = (
        f"![{entry.name} and its derivative, plotted](../../_pictures/ops/{entry.name}.svg)" if _has_plot(entry) else ""
    )
    return f"::::{{div}} op-facts\n{picture}\n\n{table}\n::::"


def _rows(entry: Entry, arity: int) -> Iterator[list[str]]:
    f = _function(entry)
    if _value(f, *[0.5] * arity) is None:  # of booleans
        for args in (
            [(x,) for x in (False, True)] if arity == 1 else [(x, y) for x in (False, True) for y in (False, True)]
        ):
            yield [*map(str, args), str(f(*args))]
        return
    points = [(x,) for x in _POINTS] if arity == 1 else [tuple(map(float, pair)) for pair in _PAIRS]
    rows = [[*map(_number, args), *map(_number, [_value(f, *args), *_slopes(entry, *args)])] for args in points]
    for row, after in zip(rows, [*rows[1:], []], strict=True):
        if row[0] == "−0" and row[1:] == after[1:]:
            after[0] = "±0"
        else:
            yield row


def _domain(entry: Entry) -> Iterator[str]:
    """Where an op of one argument has a value, by looking at many: in steps of an eighth."""
    f = _function(entry)
    if _arity(entry) != 1 or _value(f, 0.5) is None:
        return
    points = [k / 8 for k in range(-400, 401)]
    values = {x: cast("float", _value(f, x)) for x in points}
    defined = [x for x in points if values[x] == values[x]]
    inside = [x for x in points if defined[0] <= x <= defined[-1]]
    holes = [x for x in inside if values[x] != values[x]]
    infinite = [x for x in defined if math.isinf(values[x])]
    left = "(-\\infty" if defined[0] == points[0] else f"[{defined[0]:g}"
    right = "\\infty)" if defined[-1] == points[-1] else f"{defined[-1]:g}]"
    everywhere = defined[0] == points[0] and defined[-1] == points[-1]
    said = "Defined for all real numbers" if everywhere else f"Defined on ${left}, {right}$, nan elsewhere"
    said += f", but nan at {_some(holes)}" if holes else ""
    yield said + (f"; infinite at {_some(infinite)}." if infinite else ".")


def _some(points: Sequence[float]) -> str:
    """A few points, nearest to 0 first."""
    near = sorted(points, key=lambda x: (abs(x), x))
    return ", ".join(f"{x:g}".replace("-", "−") for x in near[:3]) + (", …" if len(near) > 3 else "")


# --- in words --------------------------------------------------------------------------------------------------------
def _words(entry: Entry) -> Iterator[str]:
    """What kind of derivative an op has, where no formula says it."""
    kind, call = _call(entry)
    if kind in _KINDS:
        yield _KINDS[kind]
    elif kind is None and arguments(entry) is None:
        yield _COMPOSED if entry.name not in TABLE else ""
    elif arguments(entry) is not None and TABLE[entry.name].vjp is None:
        yield _KINDS["constant"]
    if call is not None:
        yield from _docs_of_rules(entry, call)


def _docs_of_rules(entry: Entry, call: ast.Call) -> Iterator[str]:
    """What the functions that are a row's rules say of themselves."""
    used = {node.id for node in ast.walk(call) if isinstance(node, ast.Name)}
    for node in api.syntax(entry.module).body:
        if (
            isinstance(node, ast.FunctionDef)
            and node.name in used
            and "pu" in node.name
            and (doc := ast.get_docstring(node))
        ):
            yield f"`{node.name}`: " + api.markdown(doc)


def _call(entry: Entry) -> tuple[str | None, ast.Call | None]:
    """The call that makes an op's row, and the kind of row."""
    for node in ast.walk(api.syntax(entry.module)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _ROWS and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and first.value == entry.name:
                return node.func.id, node
    return None, None


def _row(entry: Entry) -> Iterator[str]:
    """The row of the table as it stands in the source."""
    _, call = _call(entry)
    node = entry.definitions[-1] if arguments(entry) is not None else call
    source = node and ast.get_source_segment(api.text(entry.module), node, padded=True)
    if source:
        yield f":::{{dropdown}} The row\n```python\n{_tidy(source)}\n```\n:::"


def _tidy(source: str) -> str:
    """A row without the spaces that align it with its neighbours."""
    return re.sub(r" +=\s", " = ", textwrap.dedent(source.lstrip() if "\n" not in source else source), count=1)


# --- plots -----------------------------------------------------------------------------------------------------------
def _has_plot(entry: Entry) -> bool:
    return _arity(entry) == 1 and len(_slopes(entry, 0.5)) == 1


def plots(*, fast: bool = False) -> None:
    """Draw f and f′ of every op of one number."""
    (PICTURES / "ops").mkdir(parents=True, exist_ok=True)
    for _, _, sections in pages():
        for entry in [e for _, _, entries in sections for e in entries]:
            file = PICTURES / "ops" / f"{entry.name}.svg"
            if _has_plot(entry) and not (fast and file.exists()):
                file.write_text(_plot(entry), encoding="utf-8")


def _plot(entry: Entry) -> str:
    import io

    import numpy as np
    from matplotlib.figure import Figure

    f, reach = _function(entry), {"deg2rad": 180.0, "rad2deg": 3.2}.get(entry.name, 5.0)
    x = np.linspace(-reach, reach, 2001) + reach * 1e-7  # beside the poles
    with np.errstate(all="ignore"):
        y, slope = (np.asarray(z) for z in fgrad.jvp(f, (x,), (np.ones_like(x),)))
    with theme.applied():
        figure = Figure(figsize=(4.2, 2.7))
        ax = figure.add_subplot()
        ax.axhline(0, color="#8a8f98", linewidth=0.6)
        ax.axvline(0, color="#8a8f98", linewidth=0.6)
        ax.plot(x, _broken(y), color=theme.COLOURS[0], label="f")
        ax.plot(x, _broken(slope), "--", color=theme.COLOURS[1], label="f′")
        bottom, top = _limits(y, slope)
        ax.set_ylim(bottom, top)
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=1.4)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return theme.adaptive(file.getvalue())


def _broken(y: "np.ndarray") -> "np.ndarray":  # type: ignore[name-defined]  # noqa: F821
    """Values as lines that end where they jump."""
    import numpy as np

    jumps = np.abs(np.diff(y, append=y[-1])) > 0.4
    return np.where(jumps, np.nan, y)


def _limits(*values: "np.ndarray") -> tuple[float, float]:  # type: ignore[name-defined]  # noqa: F821
    """What is shown of the y-axis: all, if that is not much."""
    import numpy as np

    finite = np.concatenate([v[np.isfinite(v)] for v in values])
    bottom, top = max(-4.0, float(finite.min())), min(5.0, float(finite.max()))
    margin = 0.06 * (top - bottom)
    return bottom - margin, top + margin
