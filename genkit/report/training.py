"""How a run trained: a chart for each metric, training beside validation, and the validations in numbers."""

from __future__ import annotations

from collections.abc import Sequence

from genkit.evaluate.table import in_words
from genkit.report import chart
from genkit.report.account import Account
from genkit.report.blocks import Block, Cell, Charts, Missing, Table, Text, printable
from genkit.report.chart import Line, Mark
from genkit.report.history import History, Point
from genkit.wording import OF_A_DENSITY, counted

#: Charts of a run; what else was logged is in metrics.jsonl.
MOST_CHARTS = 9
#: Rows of the table of validations.
MOST_ROWS = 60


def sections(accounts: Sequence[Account]) -> list[list[Block]]:
    """What each run's column holds. Charts of one metric have the same axes in all runs that can be compared."""
    return [column(each, [other for other in accounts if comparable(each, other)]) for each in accounts]


def comparable(one: Account, other: Account) -> bool:
    """Whether the same names mean the same things: the runs choose their checkpoints by the same metric, and saw the
    same images."""
    mine, theirs = one.description, other.description
    same = mine.is_of(theirs.data_digest)
    return mine.monitor == theirs.monitor and (mine.data == theirs.data if same is None else same)


def about(accounts: Sequence[Account]) -> str:
    """What is true of all the charts."""
    said = ["By epoch."]
    if any(is_cut(each, accounts) for each in accounts):
        said.append("Where a curve begins so far away that the rest would be flat, its beginning is cut off.")
    if not all(comparable(accounts[0], other) for other in accounts[1:]):
        said.append("Runs on other images, or that choose by another metric, have axes of their own.")
    return " ".join(said)


def is_cut(account: Account, accounts: Sequence[Account]) -> bool:
    """Whether something of a run's curves lies outside of its charts."""
    others = [other for other in accounts if comparable(account, other)]
    for name in metrics(account)[:MOST_CHARTS]:
        _, y = axes_of(name, others)
        values = [value for line in lines_of(account.history, name) for _, value in line.points]
        if any(not y.low <= value <= y.high for value in values):
            return True
    return False


def axes_of(name: str, accounts: Sequence[Account]) -> tuple[chart.Range, chart.Range]:
    """The ranges of a metric's chart, which these runs share."""
    return chart.ranges([lines for each in accounts if (lines := lines_of(each.history, name))])


def column(account: Account, others: Sequence[Account]) -> list[Block]:
    history = account.history
    if isinstance(history, Missing):
        return [history]
    names = metrics(account)
    shared = {name: axes_of(name, others) for name in names}
    blocks: list[Block] = []
    if names:
        drawn = [
            chart.draw(titled(name), lines_of(history, name), *shared[name], "epoch", best(account, name))
            for name in names[:MOST_CHARTS]
        ]
        blocks.append(Charts(drawn))
    if len(names) > MOST_CHARTS:
        blocks.append(Text(f"Not drawn: {', '.join(map(titled, names[MOST_CHARTS:]))}; metrics.jsonl has them.", True))
    if account.description.density:
        blocks.append(Text(f"The losses are {OF_A_DENSITY}.", quiet=True))
    if history.damaged:
        blocks.append(Text(f"{counted(history.damaged, 'line')} of metrics.jsonl can't be read.", quiet=True))
    if not history.val:
        blocks.append(Missing("no epoch has come to its end, so nothing was validated"))
    return [*blocks, *validations(account, history), *tested(history)]


def titled(name: str) -> str:
    """A metric's name for people: `critic/grad_norm` as `critic: grad norm`."""
    *phase, metric = name.split("/")
    return printable(": ".join([*phase, in_words(metric)]))


def metrics(account: Account) -> list[str]:
    """The metrics to draw, the one that picks the checkpoint first and the gradients' norms last."""
    history = account.history
    if isinstance(history, Missing):
        return []
    monitor = account.description.monitor
    found = [name for name in dict.fromkeys([*history.val, *history.train]) if not same(history, name)]
    return sorted(found, key=lambda name: (name != monitor, name.endswith("grad_norm")))


def same(history: History, name: str) -> bool:
    """Whether a loss is another metric by its general name."""
    prefix, _, metric = name.rpartition("loss")
    if metric or not name.endswith("loss"):
        return False

    def values(of: str) -> list[list[Point]]:
        return [curves.get(of, []) for curves in (history.train, history.val)]

    others = {*history.train, *history.val} - {name}
    return any(values(other) == values(name) for other in others if other.startswith(prefix))


def lines_of(history: History | Missing, name: str) -> list[Line]:
    if isinstance(history, Missing):
        return []
    curves = (("train", history.train.get(name)), ("validation", history.val.get(name)))
    return [Line(split, [(point.epoch, point.value) for point in points]) for split, points in curves if points]


def best(account: Account, name: str) -> Mark | None:
    """The checkpoint, on the curve of the metric that picked it."""
    if isinstance(account.history, Missing) or name != account.description.monitor:
        return None
    at = [point for point in account.history.val.get(name, []) if point.step == account.description.step]
    return Mark(at[0].epoch, at[0].value, f"{account.which}: {at[0].value:.4g}") if at else None


def validations(account: Account, history: History) -> list[Block]:
    """What validation measured after each epoch, the checkpoint's row standing out."""
    names = list(history.val)
    rows: dict[int, dict[str, Point]] = {}
    for name, points in history.val.items():
        for point in points:
            rows.setdefault(point.step, {})[name] = point
    if not rows:
        return []
    steps = sorted(rows)
    chosen = account.description.step
    shown = [
        step for at, step in enumerate(steps) if at % -(-len(steps) // MOST_ROWS) == 0 or step in (steps[-1], chosen)
    ]
    head = [Cell("epoch"), *(Cell(titled(name), number=True) for name in names)]
    table = []
    for step in shown:
        strong = step == chosen
        epoch = next(iter(rows[step].values())).epoch
        cells = [f"{rows[step][name].value:,.5g}" if name in rows[step] else "–" for name in names]
        first = Cell(f"{epoch:g}{f' ({account.which})' if strong else ''}", strong=strong)
        table.append([first, *(Cell(text, strong=strong, number=True) for text in cells)])
    return [Table("Validation after each epoch", head, table, folded="Validation, in numbers")]


def tested(history: History) -> list[Block]:
    if not history.test:
        return [Missing("the run hasn't come to its end, so nothing was measured on the test split")]
    head = [Cell("on the test split"), Cell("value", number=True)]
    rows = [[Cell(titled(name)), Cell(f"{value:,.6g}", number=True)] for name, value in history.test.items()]
    return [
        Table(
            f"Measured on the test split at the end of training, by the checkpoint of step {history.tested_step:,}",
            head,
            rows,
            folded="Test split, in numbers",
        )
    ]
