from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from edge_moe.errors import OutputError
from edge_moe.output import check_target, write_file, writing

OURS = '{\n  "schema_version": 1'


def make(folder: Path, **files: str) -> Path:
    """make(folder, manifest_json="...") -> the folder with manifest.json in it."""
    folder.mkdir()
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


def snapshot(folder: Path) -> dict[str, str | None]:
    return {str(p.relative_to(folder)): p.read_text() if p.is_file() else None for p in folder.rglob("*")}


def test_a_free_place_is_good_and_nothing_is_made(tmp_path: Path) -> None:
    for target in (tmp_path / "a", tmp_path / "deep" / "er" / "a"):
        check_target(target, force=False)
        check_target(target, force=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("marker", ["manifest_json", "config_json", "results_json"])
def test_what_edge_moe_wrote_is_replaced_by_force_only(tmp_path: Path, marker: str) -> None:
    target = make(tmp_path / "t", **{marker: OURS})
    with pytest.raises(OutputError, match=r"t exists already; .* --force"):
        check_target(target, force=False)
    check_target(target, force=True)
    assert snapshot(target) == {marker.replace("_", "."): OURS}


def test_an_empty_folder_is_replaced_by_force_only(tmp_path: Path) -> None:
    target = make(tmp_path / "t")
    with pytest.raises(OutputError, match="--force"):
        check_target(target, force=False)
    check_target(target, force=True)


@pytest.mark.parametrize("files", [{"thesis_txt": "years"}, {"config_json": '{"name": "another program"}'}])
def test_what_others_wrote_is_not_replaced_by_force_either(tmp_path: Path, files: dict[str, str]) -> None:
    target = make(tmp_path / "t", **files)
    with pytest.raises(OutputError, match="holds files that edge-moe did not write; choose another target"):
        check_target(target, force=True)


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_a_file_is_no_target(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "t"
    target.write_text("x") if kind == "file" else target.symlink_to(tmp_path / "gone")
    with pytest.raises(OutputError, match="exists already"):
        check_target(target, force=False)
    with pytest.raises(OutputError, match="is a file; expected the name of a folder"):
        check_target(target, force=True)


@pytest.mark.parametrize("name", [".", "..", "../.."])
def test_the_current_folder_is_no_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    here = tmp_path / "a" / "b"
    here.mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "a", here):
        (folder / "manifest.json").write_text(OURS)
    monkeypatch.chdir(here)
    with pytest.raises(OutputError, match="is, or contains, the current folder"):
        check_target(Path(name), force=True)


@pytest.mark.parametrize("read", ["t", "t/results.json", "t/deep/images", "link"])
def test_what_is_read_is_not_replaced_by_force(tmp_path: Path, read: str) -> None:
    target = make(tmp_path / "t", manifest_json=OURS, results_json=OURS)
    (target / "deep" / "images").mkdir(parents=True)
    (tmp_path / "link").symlink_to("t/deep")
    before = snapshot(tmp_path)
    with pytest.raises(OutputError, match=rf"t is, or contains, .*{read}, which is read; choose another target"):
        check_target(target, force=True, reads=(None, "digits", tmp_path / read))
    assert snapshot(tmp_path) == before
    check_target(target, force=True, reads=(None, "digits", tmp_path, "x" * 5000))


def test_a_file_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=r"cannot write .*: Not a directory; choose another target"):
        check_target(tmp_path / "file" / "t", force=False)


def test_a_place_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def access(path: Path, mode: int) -> bool:
        asked.append(Path(path))
        return not mode & os.W_OK

    monkeypatch.setattr(os, "access", access)  # root may write everywhere
    with pytest.raises(OutputError, match=r"cannot write .*: Permission denied; choose another target"):
        check_target(tmp_path / "new" / "t", force=False)
    assert asked == [tmp_path]


def test_a_name_that_no_file_may_have(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*: File name too long"):
        check_target(tmp_path / ("x" * 300), force=False)


@pytest.mark.parametrize("stranger", ["notes.txt", ".git/HEAD", "code/net.py", "Makefile"])
def test_a_file_of_somebody_in_what_edge_moe_wrote_is_not_replaced(tmp_path: Path, stranger: str) -> None:
    target = make(tmp_path / "t", manifest_json=OURS)
    (target / ".DS_Store").write_text("of the system")
    check_target(target, force=True)
    file = target / stranger
    file.parent.mkdir(exist_ok=True)
    file.write_text("years of work")
    with pytest.raises(OutputError, match=rf"files that edge-moe did not write \({stranger}\); move them, or choose"):
        check_target(target, force=True)
    (tmp_path / "link").symlink_to("t")
    check_target(tmp_path / "link", force=True)  # the link goes, the folder stays


@pytest.mark.parametrize("marker", ["config_json", "manifest_json", "results_json"])
def test_what_another_command_made_inside_is_not_replaced(tmp_path: Path, marker: str) -> None:
    target = make(tmp_path / "t", manifest_json=OURS)
    (target / "litert").mkdir()
    (target / "litert" / "points.json").write_text("{}")
    check_target(target, force=True)
    (target / "deep").mkdir()
    make(target / "deep" / "inner", **{marker: OURS})
    with pytest.raises(OutputError, match=r"holds deep/inner, which another command made; move it, or choose"):
        check_target(target, force=True)
    (target / "site.json").write_text(OURS)  # a page has its bundle inside
    check_target(target, force=True)


# --- files ---


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    write_file(tmp_path / "a" / "b.bin", b"one")
    write_file(tmp_path / "a" / "b.bin", b"two")
    assert snapshot(tmp_path) == {"a": None, "a/b.bin": "two"}


@pytest.mark.parametrize(
    ("code", "advice"), [(errno.ENOSPC, "free some space and run again"), (errno.EIO, "choose another target")]
)
def test_a_full_disk_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, advice: str
) -> None:
    file = tmp_path / "f"
    file.write_text("old")

    def fsync(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OutputError, match=f"cannot write .*f: {os.strerror(code)}; {advice}"):
        write_file(file, b"new")
    assert snapshot(tmp_path) == {"f": "old"}


def test_a_file_is_never_seen_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "f"
    file.write_text("old")
    fsync, seen = os.fsync, []

    def spy(descriptor: int) -> None:
        seen.append(file.read_text())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    write_file(file, b"new")
    assert seen == ["old"]
    assert file.read_text() == "new"


@pytest.mark.parametrize("error", [OutputError("as it is"), ValueError("no business of the disk")])
def test_other_errors_pass(tmp_path: Path, error: Exception) -> None:
    def fail() -> Any:
        raise error

    with pytest.raises(type(error)) as caught, writing(tmp_path):
        fail()
    assert caught.value is error
