"""Files appear whole, under the name that was asked for, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from cifar_tune.errors import StorageError
from cifar_tune.files import write_text


@pytest.mark.parametrize("name", ["", ".", "/", "a\0b"])
def test_what_is_no_name_of_a_file_is_said(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match=r"expected the path of a file$"):
        write_text("text", Path(name), StorageError)
    assert list(tmp_path.iterdir()) == []
