"""The Jinja2 environment of all templates that are part of the package."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined


def make_environment(package: str, *, escapes: bool) -> Environment:
    """Return the environment of the folder ``templates`` of a package.

    A name that is not there is an error. ``escapes`` is for HTML; Markdown and plain text are not
    escaped.
    """
    return Environment(
        loader=PackageLoader(package),
        undefined=StrictUndefined,
        autoescape=escapes,
        trim_blocks=True,
        lstrip_blocks=True,
    )
