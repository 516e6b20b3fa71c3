"""What the file formats have in common."""

from __future__ import annotations

import hashlib
import json

from edge_moe.records import file_sha256, sha256, to_json


def test_json_is_indented_for_people():
    assert to_json({"a": [1.5, None]}) == b'{\n  "a": [\n    1.5,\n    null\n  ]\n}\n'
    assert json.loads(to_json({"a": 1})) == {"a": 1}


def test_digests_of_bytes_and_of_a_file_are_the_same(tmp_path):
    data = bytes(range(256)) * 99
    (tmp_path / "file").write_bytes(data)
    assert sha256(data) == file_sha256(tmp_path / "file") == hashlib.sha256(data).hexdigest()
