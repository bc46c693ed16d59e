"""A page of HTML that needs nothing else: its frame and style, which all reports share."""

from __future__ import annotations

from html import escape

__all__ = ["page_of"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1b1f24 }
h1 { font-size: 1.5rem } h2 { font-size: 1.2rem; margin-top: 2.5rem }
.state { border-radius: 4px; padding: .1rem .5rem; font-size: .9rem; color: #fff }
.same { background: #1a7f37 } .different { background: #b42318 }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1rem }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid #d8dee4 }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
td.value, code { font: 13px/1.4 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere }
.null { color: #7d8590 } summary { cursor: pointer; padding: .3rem 0 } .facts { color: #57606a }
@media (prefers-color-scheme: dark) { body { background: #0d1117; color: #e6edf3 } th, td { border-color: #30363d }
  .facts { color: #8d96a0 } }
"""


def page_of(title: str, facts: str, body: str, *, style: str = "") -> str:
    """The document. title and facts are texts, body is HTML, style goes behind the common one."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}{style}</style></head><body>"
        f"<h1>{escape(title)}</h1><p class=facts>{escape(facts)}</p>{body}</body></html>\n"
    )
