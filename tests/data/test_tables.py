from __future__ import annotations

import logging
from pathlib import Path

import pytest

from genkit.data.tables import attribute_names, read_attributes, read_partition
from genkit.errors import DataError

FILES = ["a.png", "sub/b.png", "c.png"]


def table(tmp_path: Path, text: str, name: str = "attributes.csv") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(("no", "yes"), [("0", "1"), ("-1", "1"), ("false", "true"), ("False", "TRUE"), (" 0", "1 ")])
def test_each_way_to_write_a_value(tmp_path, no, yes):
    path = table(tmp_path, f"file,Male,Wavy_Hair\nc.png,{yes},{yes}\na.png,{yes},{no}\nb.png,{no},{yes}\n")
    names, values = read_attributes(path, FILES)
    assert names == ("male", "wavy-hair")
    assert values.tolist() == [[True, False], [False, True], [True, True]]


def test_as_spreadsheets_save_it(tmp_path):
    path = tmp_path / "attributes.csv"
    path.write_bytes('\ufefffile,"Big Nose"\r\n"a.png",1\r\nsub/b.png,0\r\n\r\nc.png,0\r\n'.encode())
    names, values = read_attributes(path, FILES)
    assert names == ("big-nose",)
    assert values[:, 0].tolist() == [True, False, False]


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
        ("file,x\na.png,1\nb.png,1\nc.png,2\n", "'2' for c.png; write 0 or 1, -1 or 1, false or true"),
        ("file,x\na.png,1,1\n", "3 cells for a.png, where 2 were expected"),
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
    with pytest.raises(DataError, match=r"'3' for a\.png; write 0 for train"):
        read_partition(table(tmp_path, "a.png 3\nb.png 1\nc.png 2\n", "list_eval_partition.txt"), FILES)


def test_a_name_with_a_line_break_stays_in_one_line(tmp_path):
    path = table(tmp_path, 'file,x\n"a\nb",1,1\n')
    with pytest.raises(DataError) as caught:
        read_attributes(path, FILES)
    assert str(caught.value) == f"{path}: 3 cells for 'a\\nb', where 2 were expected; mend the line"
