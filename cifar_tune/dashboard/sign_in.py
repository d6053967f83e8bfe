"""The page that asks for the token."""

from __future__ import annotations

from http import HTTPStatus

from jinja2 import Environment

from cifar_tune.dashboard.responses import Answer

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>cifar-tune: token</title>
<link rel="icon" href="data:,">
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 28rem; margin: 15vh auto; padding: 0 1rem;
  color-scheme: light dark; }
input, button { font: inherit; padding: 0.4rem 0.6rem; }
input { width: 100%; box-sizing: border-box; margin: 0.3rem 0 0.8rem; }
</style>
</head>
<body>
<main>
<h1>cifar-tune</h1>
<form method="post" action="/login">
<label for="token">This dashboard needs its token; who started it has it.</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<input type="hidden" name="next" value="{{ place }}">
{% if is_wrong %}<p role="alert">That is not the token.</p>{% endif %}
<button>Open</button>
</form>
</main>
</body>
</html>
"""
_TEMPLATE = Environment(autoescape=True, trim_blocks=True).from_string(_PAGE)
_HEADERS = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Content-Security-Policy", "default-src 'none'; img-src data:; style-src 'unsafe-inline'"),
    ("WWW-Authenticate", "Bearer"),
)


def sign_in_page(status: HTTPStatus, place: str, *, is_wrong: bool) -> Answer:
    """The page with the form.

    Args:
        place: the path to go on to.
        is_wrong: whether a token was given that is not the one.
    """
    text = _TEMPLATE.render(place=place, is_wrong=is_wrong)
    return Answer(status, _HEADERS, text.encode())
