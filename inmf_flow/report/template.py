"""Templates of the pages."""

from __future__ import annotations

from typing import Any


def render_page(template: str, **content: Any) -> str:
    """Return a page as HTML: the template of this name, filled; it also gets ``version``, that of inmf_flow."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from inmf_flow._version import __version__

    environment = Environment(
        loader=PackageLoader("inmf_flow.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template(template).render(version=__version__, **content)


def as_yaml(settings: Any) -> str:
    """Return settings, plain data, as a page shows them; empty where there are none."""
    import yaml

    if not settings:
        return ""
    return str(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100))
