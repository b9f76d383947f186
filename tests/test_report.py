"""Pages: they need nothing else, nothing that was not ours has a say in them, and equal contents give equal bytes."""

import itertools
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fgrad import cli
from fgrad.show import plot, report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EVIL = "</title></style></svg><script>alert(1)</script>\" onload='x' --> <!-- & ]]> $x_$ 漢"
VOID = {"meta", "image", "br"}


class Reader(HTMLParser):
    """What a page holds: its tags in order with their attributes, and its text; tags must close."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts += [data.strip()] * (not data.isspace())

    def all(self, attribute: str) -> list[str]:
        return [attrs[attribute] or "" for _, attrs in self.tags if attribute in attrs]


def line(ax: "Axes") -> None:
    plot.curve(ax, {"training": [1.0, 0.5], "held out": [1.0, 0.7]}, EVIL)


def regions(ax: "Axes") -> None:
    x = np.random.default_rng(0).normal(size=(20, 2))
    plot.boundary(ax, lambda x: x, x, (x[:, 1] > 0).astype(int), (EVIL, "b"), (EVIL, "q"), EVIL)


def a_page() -> str:
    return report.page(
        EVIL,
        report.headline(EVIL, EVIL, EVIL),
        report.sections(
            report.section(EVIL, report.figure(line, "line", EVIL, EVIL), wide=True),
            report.section("plane", report.figure(regions, "plane", EVIL, EVIL), report.part(EVIL)),
            report.section("words", report.paragraph(EVIL), report.code(EVIL), report.facts({EVIL: EVIL})),
            report.section("table", report.folded(EVIL, report.table(EVIL, (EVIL, "n"), [(EVIL, "1")]))),
            report.section("matrix", report.confusion(np.array([[3, 1], [0, 0]]), (EVIL, "q"))),
        ),
    )


def test_names_have_no_say_in_a_page() -> None:
    read = Reader(a_page())
    assert {tag for tag, _ in read.tags}.isdisjoint({"script", "link", "iframe", "img"})
    assert all(not name.startswith("on") for _, attrs in read.tags for name in attrs)
    assert read.texts.count(EVIL) >= 12
    assert EVIL in read.all("aria-label")


def test_a_page_needs_nothing_else() -> None:
    page = a_page()
    read = Reader(page)
    assert not {"src", "srcset", "action", "data"} & {name for _, attrs in read.tags for name in attrs}
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in read.all("href") + read.all("xlink:href"))
    assert "@import" not in page
    assert all(place.startswith("#") for place in re.findall(r"url\(['\"]?([^)]*)", page))


def test_ids_are_unique_and_what_is_referred_to_is_there() -> None:
    page = a_page()
    read = Reader(page)
    ids = read.all("id")
    assert len(set(ids)) == len(ids)
    wanted = {link[1:] for link in read.all("xlink:href") if link.startswith("#")}
    wanted |= set(re.findall(r"url\(#([^)]*)\)", page))
    assert wanted
    assert wanted <= set(ids)


def test_headings_are_in_order() -> None:
    levels = [int(tag[1]) for tag, _ in Reader(a_page()).tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_pictures_are_words_for_those_who_do_not_see_them_and_have_the_pages_colours() -> None:
    pictures = re.findall(r"<svg .*?</svg>", a_page(), re.DOTALL)
    assert len(pictures) == 2
    for picture in pictures:
        assert 'role="img" aria-label="' in picture
        assert "<text" in picture
        assert "currentColor" in picture
        assert "#010203" not in picture
        assert not re.search(r"<svg [^>]*width=", picture)


def test_equal_contents_give_equal_bytes() -> None:
    assert a_page() == a_page()


def test_settings_of_the_users_stay() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    a_page()
    assert dict(mpl.rcParams) == before


def test_a_confusion_matrix_has_its_shares() -> None:
    read = Reader(report.confusion(np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]]), ("a", "b", "c")))
    classes = [attrs.get("class") for tag, attrs in read.tags if tag == "td"]
    assert classes[1:5] == ["right", "wrong", "none", None]
    assert read.all("style") == ["--share:75%", "--share:25%", "--share:100%"]
    assert " ".join(read.texts) == "a b c recall a 3 1 0 75 b 0 2 0 100 c 0 0 0 – precision 100 67 –"


def test_of_many_classes_the_most_frequent_mistakes_are_listed() -> None:
    matrix = np.diag(np.full(50, 9))
    matrix[3, 7], matrix[8, 1] = 2, 5
    read = Reader(report.confusion(matrix, [f"c{i}" for i in range(50)]))
    assert " ".join(read.texts) == "class said to be times c8 c1 5 c3 c7 2"


@pytest.mark.parametrize("classes", [True, False])
def test_the_page_of_a_run(classes: bool, tmp_path: Path) -> None:
    file, page = tmp_path / "data.csv", tmp_path / "deep" / "page.html"
    rows = [
        f"{i % 7},{i * i % 11},{'<p>' if i % 7 > 3 else '&q'}" if classes else f"{i},{i % 3},{i}.5" for i in range(40)
    ]
    file.write_text("\n".join(["<b>a,b&,$y", *rows]))
    words = ["--target", "$y", "--hidden", "4", "--epochs", "2", "--out", str(tmp_path / "out"), "--report", str(page)]
    assert cli.main(["train", str(file), *words]) == 0
    first = page.read_bytes()
    read = Reader(first.decode())
    titles = re.findall("<h2>(.*?)</h2>", first.decode())
    judged = ["Decision boundary", "Confusion matrix"] if classes else ["Prediction", "Prediction and truth"]
    assert titles == ["Loss", *judged, "Model", "Data", "Run"]
    text = " ".join(read.texts)
    assert "2 → 4 → " in text
    assert "--seed 0" in text
    assert cli.main(["train", str(file), *words]) == 0
    assert page.read_bytes() == first
