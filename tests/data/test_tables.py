from __future__ import annotations

import csv
import io
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genkit.data.forms.tables import attribute_names, read_attributes, read_partition
from genkit.errors import DataError

FILES = ["a.png", "sub/b.png", "c.png"]


def table(tmp_path: Path, text: str, name: str = "attributes.csv") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("no", "yes"),
    [
        *(("0", "1"), ("-1", "1"), ("false", "true"), ("False", "TRUE"), (" 0", "1 "), ("no", "yes"), ("N", "Y")),
        *(("0.0", "1.0"), ("-1.0", "+1"), ('"0,00"', '"1,"'), ("-0.", "1.")),
    ],
)
def test_each_way_to_write_a_value(tmp_path, no, yes):
    path = table(tmp_path, f"file,Male,Wavy_Hair\nc.png,{yes},{yes}\na.png,{yes},{no}\nb.png,{no},{yes}\n")
    names, values = read_attributes(path, FILES)
    assert names == ("male", "wavy-hair")
    assert values.tolist() == [[True, False], [False, True], [True, True]]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le with its mark"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_whatever_stands_between_the_cells(tmp_path, delimiter, encoding, newline):
    rows = [["file", " Male ", '"Big Nose"'], ["a.png ", "1", "0"], ['"sub/b.png"', " 0", "1 "], ["c.png", "0", "0"]]
    text = newline.join(delimiter.join(row) for row in rows)
    path = tmp_path / "attributes.csv"
    if encoding.endswith("mark"):
        path.write_bytes(b"\xff\xfe" + text.encode("utf-16-le"))
    else:
        path.write_bytes(text.encode(encoding))
    names, values = read_attributes(path, FILES)
    assert names == ("male", "big-nose")
    assert values.tolist() == [[True, False], [False, True], [False, False]]


#: Names that a spreadsheet must put into quotes among them; blanks around them aren't kept.
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters='/\\"'), min_size=1)


@given(
    table_of=st.dictionaries(NAMES.map(lambda name: f"{name}.png"), st.tuples(st.booleans(), st.booleans())),
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    words=st.sampled_from([("0", "1"), ("0.0", "1.0"), ("-1", "1"), ("FALSE", "TRUE"), ("no", "Yes")]),
)
def test_what_a_spreadsheet_writes_is_read(tmp_path_factory, table_of, delimiter, quoting, encoding, words):
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting)
    writer.writerow(["file", "Big Nose", "hat"])
    writer.writerows([file, *(words[value] for value in row)] for file, row in table_of.items())
    path = tmp_path_factory.getbasetemp() / "attributes.csv"
    path.write_bytes(text.getvalue().encode(encoding))
    assert read_attributes(path, list(table_of))[1].tolist() == [list(row) for row in table_of.values()]


def test_excel_says_what_stands_between_the_cells(tmp_path):
    path = table(tmp_path, "sep=;\nfile;x\na.png;1\nsub\\b.png;0\n./c.png;vielleicht\n")
    with pytest.raises(DataError, match=r"attributes\.csv: line 5, x: 'vielleicht' for c\.png; write 0 or 1"):
        read_attributes(path, FILES)
    path.write_text(path.read_text().replace("vielleicht", "1"))
    assert read_attributes(path, FILES)[1][:, 0].tolist() == [True, False, True]


def test_a_table_without_headings(tmp_path):
    with pytest.raises(DataError, match=r"its first line is about a\.png; put a line of headings before it"):
        read_attributes(table(tmp_path, "a.png,1\nb.png,1\nc.png,0\n"), FILES)


def test_minus_1_beside_0_and_1_may_be_not_known(tmp_path):
    """As CheXpert has it, where -1 is "uncertain"."""
    with pytest.raises(DataError, match="Edema is -1, 0 and 1, so that -1 may be no or not known"):
        read_attributes(table(tmp_path, "file,Edema,x\na.png,-1,-1\nb.png,0,1\nc.png,1,1\n"), FILES)


@pytest.mark.parametrize("content", ["file,größe\n".encode("latin-1"), "file,x\n".encode("utf-16-le"), b"\xff\xfea"])
def test_other_encodings_are_refused(tmp_path, content):
    (tmp_path / "attributes.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"attributes\.csv: can't be read as a table in UTF-8 .*; save it again"):
        read_attributes(tmp_path / "attributes.csv", FILES)


def test_as_spreadsheets_save_it(tmp_path):
    path = tmp_path / "attributes.csv"
    path.write_bytes('\ufefffile,"Big Nose"\r\n"a.png",1\r\nsub/b.png,0\r\n\r\nc.png,0\r\n'.encode())
    names, values = read_attributes(path, FILES)
    assert names == ("big-nose",)
    assert values[:, 0].tolist() == [True, False, False]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(",file,x\n0,a.png,1\n1,sub/b.png,0\n2,c.png,0\n", id="pandas"),
        pytest.param("file;x;;\na.png;1;;\nsub/b.png;0;;\nc.png;0;;\n", id="empty columns"),
        pytest.param("file,x\nA.PNG,1\nB.Png,0\nc.png,0\n", id="case"),
        pytest.param("file,x\na,1\nb,0\nc,0\n", id="no ending"),
        pytest.param("file,x\nC:\\me\\a.png,1\nC:\\me\\b.png,0\n/home/me/c.png,0\n", id="another computer"),
    ],
)
def test_names_as_people_write_them(tmp_path, text, caplog):
    names, values = read_attributes(table(tmp_path, text), FILES)
    assert names == ("x",)
    assert values[:, 0].tolist() == [True, False, False]
    assert caplog.messages == []


@pytest.mark.parametrize("text", ["file,x\nother/a.png,1\nb.png,0\nc.png,0\n", "file,x\na.png,1\nb,0\nB,1\nc,0\n"])
def test_a_name_that_may_be_another_files_is_no_name(tmp_path, text):
    with pytest.raises(DataError, match="no line for 1 of 3 images"):
        read_attributes(table(tmp_path, text), FILES)


def test_celebas_own_table(tmp_path):
    text = "\ufeff3\n5_o_Clock_Shadow Male \na.png -1  1\nb.png  1 -1\nc.png -1 -1\n"
    names, values = read_attributes(table(tmp_path, text, "list_attr_celeba.txt"), FILES)
    assert names == ("5-o-clock-shadow", "male")
    assert values.tolist() == [[False, True], [True, False], [False, False]]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "name at least one attribute"),
        ("file\na.png\n", "name at least one attribute"),
        ("file,x,X\n", "each only once"),
        ("file,a&b\n", "'a&b' can't name an attribute; use letters, digits and '-' or '_'"),
        ("file,x\na.png,1\n", "no line for 2 of 3 images, for example sub/b.png; add them"),
        ("file,x\na.png,1\nb.png,1\nc.png,2\n", "line 4, x: '2' for c.png; write 0 or 1, -1 or 1, no or yes"),
        ("file,x\na.png,1,1\n", "line 2: 3 cells for a.png, where 2 were expected"),
        ("file,x\na.png,1\na.png,1\n", "a.png has more than one line"),
    ],
)
def test_a_table_that_does_not_fit(tmp_path, text, problem):
    with pytest.raises(DataError) as caught:
        read_attributes(table(tmp_path, text), FILES)
    assert str(caught.value).startswith(f"{tmp_path}/attributes.csv: ")
    assert problem in str(caught.value)


def test_a_truncated_celeba_table(tmp_path):
    with pytest.raises(DataError, match="is the table whole"):
        read_attributes(table(tmp_path, "3\nx\na.png 1\nb.png 1\n", "list_attr_celeba.txt"), FILES)


def test_a_table_that_is_no_text(tmp_path):
    (tmp_path / "attributes.csv").write_bytes(b"\xff\xfe\0\0")
    with pytest.raises(DataError, match="can't be read as a table in UTF-8"):
        read_attributes(tmp_path / "attributes.csv", FILES)


def test_a_bare_name_must_be_the_only_one(tmp_path):
    path = table(tmp_path, "file,x\nb.png,1\n")
    with pytest.raises(DataError, match="no line for 2 of 2 images"):
        read_attributes(path, ["1/b.png", "2/b.png"])


def test_lines_about_other_files_are_counted(tmp_path, caplog):
    """Among them one that would lead out of the folder: names are compared, never opened."""
    path = table(tmp_path, "file,x\na.png,1\nb.png,1\nc.png,0\nz.png,1\n../secret.png,1\n")
    with caplog.at_level(logging.WARNING, "genkit"):
        assert read_attributes(path, FILES)[1].tolist() == [[True], [True], [False]]
    assert caplog.messages == [f"{path}: 2 lines are about files that aren't here, for example ../secret.png"]


def test_names_for_expressions(tmp_path):
    assert attribute_names(tmp_path, ["Wavy_Hair", " no  beard "]) == ("wavy-hair", "no-beard")
    for bad in ("!x", "a & b", "-x", "é", ""):
        with pytest.raises(DataError):
            attribute_names(tmp_path, [bad])


def test_celebas_partition(tmp_path):
    path = table(tmp_path, "a.png 0\nb.png 1\nc.png 2\n", "list_eval_partition.txt")
    assert read_partition(path, FILES).tolist() == [0, 1, 2]
    with pytest.raises(DataError, match=r"line 1: '3' for a\.png; write 0 for train"):
        read_partition(table(tmp_path, "a.png 3\nb.png 1\nc.png 2\n", "list_eval_partition.txt"), FILES)


def test_a_name_with_a_line_break_stays_in_one_line(tmp_path):
    path = table(tmp_path, 'file,x\n"a\nb",1,1\n')
    with pytest.raises(DataError) as caught:
        read_attributes(path, FILES)
    assert str(caught.value) == f"{path}: line 3: 3 cells for 'a\\nb', where 2 were expected; mend the line"


def test_a_table_that_says_two_labels_of_a_picture_is_none_of_labels(of, write, pictures, caplog):
    """As of detection, with a line for each thing in a picture."""
    folder = write(pictures)
    lines = [f"{number:03}.png,{number % 3}" for number in range(100)]
    (folder / "labels.csv").write_text("\n".join(["file,label", *lines]) + "\n")
    assert of(folder).classes == ("0", "1", "2")
    (folder / "labels.csv").write_text("\n".join(["file,label", *lines, "007.png,1", "008.png,0"]) + "\n")
    assert of(folder).classes == ()
    assert f"{folder}/labels.csv: isn't used for labels, since it says both 2 and 0 of 008.png" in caplog.messages
