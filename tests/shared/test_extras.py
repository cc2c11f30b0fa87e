"""Optional requirements: how to get them, where one can install and in an image."""

from __future__ import annotations

import pytest

from shared.errors import UsageError
from shared.extras import IN_IMAGE, check_extra, how_to_install


def test_a_package_that_is_here_is_no_error_and_is_not_imported() -> None:
    import sys

    sys.modules.pop("this", None)  # one that prints when it is imported
    check_extra("--metrics", "this", "metrics")
    assert "this" not in sys.modules


@pytest.mark.parametrize("image", [None, "node", "coordinator"])
def test_what_to_do_depends_on_where_it_is_absent(
    monkeypatch: pytest.MonkeyPatch, image: str | None
) -> None:
    if image is None:
        monkeypatch.delenv(IN_IMAGE, raising=False)
    else:
        monkeypatch.setenv(IN_IMAGE, image)
    with pytest.raises(UsageError) as refused:
        check_extra("--shout", "no_such_package", "loud")
    said = str(refused.value)
    assert "--shout needs the package no_such_package, which is not installed" in said
    assert ("pip install --no-deps -r requirements-loud.txt" in said) == (image is None)
    assert ("docker build --build-arg EXTRAS=loud" in said) == (image is not None)
    assert ("EXTRAS=loud in .env" in said) == (image is not None)
    assert how_to_install("loud") in said
