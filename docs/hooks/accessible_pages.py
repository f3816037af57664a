"""Name what the theme leaves without a name, for people who have the site read to them."""

from typing import Any

_SEARCH = 'data-md-component="search" role="dialog"'


def on_post_page(output: str, **_: Any) -> str:  # noqa: ANN401 (MkDocs hands over its page and settings)
    """Name the dialog of the search, which axe-core asks for."""
    return output.replace(_SEARCH, f'{_SEARCH} aria-label="Search"')
