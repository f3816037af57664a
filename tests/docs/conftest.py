import pytest
from code_blocks import PROJECT
from documentation_site import build_site


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the site."""
    for name in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(name, reason="the extra docs is not installed")
    folder = tmp_path_factory.mktemp("site")
    done = build_site(PROJECT, folder)
    assert done.returncode == 0, done.stdout
    return folder
