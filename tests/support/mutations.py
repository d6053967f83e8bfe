"""Makes wrong inputs out of right ones: one change each, drawn from a table of what people send."""

from __future__ import annotations

import copy
import random
from typing import Any


def nest(depth: int) -> list[Any]:
    """Lists in one another."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


TEXTS = (
    "", " ", ".", "..", "../../../../PWN", "/tmp/PWN", "~/PWN", "a\0b", "\x1b[31m\x1b[2J", "\x9b2J",
    "\u202eabc", "\ud800", "\ufeff", "猫", "x" * 600, "7", "-1", "nan", "1e999", "9" * 5000,
    "${HOME}", "{x}", "%41", "'; DROP TABLE trials; --", "<script>alert(1)</script>", "[bold]x[/]",
    "dropout",
    "dropout:quick", "1/0", "\r\nerror: no", "true",
)  # fmt: skip
NUMBERS = (
    0, -1, 1, 2, 10**9, -(2**63), 2**63, 10**400, 0.5, -5.0, 1e308, 1e-320, float("nan"),
    float("inf"), -float("inf"), True, False,
)  # fmt: skip
ODD = (None, [], {}, [None], {"": 1}, nest(3), nest(90), nest(400), nest(900))
VALUES: tuple[Any, ...] = (*TEXTS, *NUMBERS, *ODD)

WRONG_TOML = (
    "[" * 5000, "x = " + "[" * 5000 + "]" * 5000, "x = " + "1" * 5000, "x = 0x" + "f" * 5000,
    "x = nan", "x = -inf", "[x", "x = 1\nx = 2", "\0", "\x1b[2J = 1", '"\x1b" = 1',
    "x = 1979-05-27",
    "x = " + "{a=" * 300 + "1" + "}" * 300, "a." * 3000 + "b = 1", "'''", "\ufeff",
)  # fmt: skip


def change_json(content: Any, source: random.Random) -> Any:
    """Return a copy with one part replaced, removed, repeated or added."""
    changed = {"": copy.deepcopy(content)}
    places = list(_places(changed))
    owner, key = source.choice(places[1:] or places)
    action = source.choice(("replace", "replace", "replace", "remove", "repeat", "add"))
    if action == "remove":
        del owner[key]
    elif action == "repeat" and isinstance(owner, list):
        owner.append(owner[key])
    elif action == "add" and isinstance(owner[key], dict):
        owner[key][source.choice(TEXTS)] = source.choice(VALUES)
    else:
        owner[key] = source.choice(VALUES)
    return changed.get("")


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every key of every table and index of every list, with what it stands in."""
    found: list[tuple[Any, Any]] = []
    rest = [value]
    while rest:
        owner = rest.pop()
        keys = owner.keys() if isinstance(owner, dict) else range(len(owner))
        for key in keys:
            found.append((owner, key))
            if isinstance(owner[key], dict | list):
                rest.append(owner[key])
    return found


def change_lines(text: str, lines: tuple[str, ...], source: random.Random) -> bytes:
    """Return a text with one line changed, or with one of other lines, in UTF-8 or not."""
    parts = text.splitlines()
    index = source.randrange(len(parts))
    action = source.choice(("value", "value", "value", "line", "remove", "repeat", "cut", "bytes"))
    if action == "value":
        key, equals, _ = parts[index].partition("=")
        parts[index] = key + (equals or "=") + _as_toml(source.choice(VALUES))
    elif action == "line":
        parts.insert(source.choice((0, index, len(parts))), source.choice(lines))
    elif action == "remove":
        del parts[index]
    elif action == "repeat":
        parts.insert(index, parts[index])
    elif action == "cut":
        parts = parts[:index]
    content = "\n".join(parts).encode(errors="surrogatepass")
    return change_bytes(content, source) if action == "bytes" else content


def _as_toml(value: Any) -> str:
    if isinstance(value, str):
        return source_text(value)
    if isinstance(value, dict):
        return "{x = 1}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) > 2**63:
        return "9" * 5000
    if value is None:
        return ""
    return repr(value).replace("None", "1")


def source_text(value: str) -> str:
    """A text in quotes, in which control characters stand as codes, as TOML wants them."""
    inner = "".join(
        letter if letter.isprintable() and letter not in '"\\' else f"\\u{ord(letter):04x}"
        for letter in value
    )
    return f'"{inner}"'


def change_bytes(content: bytes, source: random.Random) -> bytes:
    """Return bytes of which some are others, missing or too many."""
    changed = bytearray(content)
    index = source.randrange(max(1, len(changed)))
    action = source.choice(("flip", "cut", "insert", "empty", "double"))
    if action == "flip" and changed:
        for _ in range(source.choice((1, 8, 64))):
            changed[source.randrange(len(changed))] = source.randrange(256)
    elif action == "cut":
        del changed[index:]
    elif action == "insert":
        changed[index:index] = source.randbytes(source.choice((1, 9, 300)))
    elif action == "empty":
        changed.clear()
    else:
        changed *= 2
    return bytes(changed)


EXPRESSIONS = (
    "{{ %s }}", "{{ study(%s) }}", "{{ study('dropout', %s) }}", "{{ published(%s, 'a', 'b') }}",
    "{{ runs(%s) }}", "{{ 0.5|percent(%s) }}", "{{ %s|percent }}", "{{ %s|points }}",
    "{{ %s|interval }}", "{{ %s|duration }}", "{{ %s|settings }}", "{{ range(%s)|list }}",
    "{{ 'x' * %s }}", "{{ 2 ** %s }}", "{{ 1 / %s }}", "{{ %s.__class__.__mro__ }}",
    "{%% for a in %s %%}",
    "{%% for a in range(%s) %%}{%% endfor %%}", "{%% include %s %%}", "{%% import %s as a %%}",
    "{{ 'x'|center(%s) }}", "{{ '%%s'|format(%s) }}", "{{ '{}'.format(%s) }}", "{{ %s|sort }}",
    "{{ [%s]|sum }}", "{{ lipsum(%s) }}", "{{ cycler(%s).next() }}", "{{ 'x'|indent(%s) }}",
    "{{ %s()() }}",
    "{{ dict(a=%s) }}", "{{ %s[%s] }}", "{{ self.%s }}", "{%% set x = %s %%}{{ x|tojson }}",
    "{{ joiner(%s) }}",
    "{{ %s|batch(3)|list }}", "{{ %s|round(2) }}", "{{ 'x'|replace('x', %s) }}", "{%% raw %%}%s",
)  # fmt: skip
OPERANDS = (
    "0", "-1", "10**9", "10**400", "1e308*10", "none", "true", "[]", "{}", "''", "'dropout'", "'x'",
    "study",
    "range", "missing", "'../../x'", "'\x1b[2J'", "(1, 2)", "'%*d'", "'{0.__class__}'", "-0.0",
    "'é'",
    "1.5",
    "range(5)", "self", "loop", "'nan'|float", "[[]]", "'x' * 9", "'\\ud800'",
)  # fmt: skip


def make_template(source: random.Random) -> str:
    """A template with an expression that is probably wrong."""
    expression = source.choice(EXPRESSIONS)
    return "\n" + expression.replace("%s", source.choice(OPERANDS)).replace("%%", "%") + "\n"
