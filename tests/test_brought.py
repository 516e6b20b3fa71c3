import sys

from edge_moe.brought import cache_folder, import_from


def test_where_it_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGE_MOE_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("EDGE_MOE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg/edge-moe"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache/edge-moe"


def test_a_module_of_a_folder_comes_after_those_that_are_installed(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "brought_here.py").write_text("import numpy\nwhat = numpy.__version__\n")
    (tmp_path / "numpy.py").write_text("__version__ = 'the wrong one'\n")
    found = import_from(tmp_path, "brought_here")
    assert found.what != "the wrong one"
    assert import_from(tmp_path, "brought_here") is found
    assert sys.path.count(str(tmp_path)) == 1
    del sys.modules["brought_here"]
