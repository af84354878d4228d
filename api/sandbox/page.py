"""The inbox as one self-contained page that renews itself every two seconds without flicker."""

import html
import re

from api.sandbox.schemas import Inbox, SandboxMessageOut

#: The page's own style and script only.
CONTENT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"

_EMPTY = '<div class="empty">Nothing yet. Ask for a code and it appears here.</div>'
_CODE = re.compile(r"\b(\d{6})\b")

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Voltbay sandbox inbox</title>
<style>
:root {{ color-scheme: light dark; --line: color-mix(in srgb, currentColor 14%, transparent);
  --soft: color-mix(in srgb, currentColor 60%, transparent); }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 0 auto; padding: 2.5rem 1.25rem; }}
h1 {{ font-size: 1.35rem; margin: 0; }}
header p {{ color: var(--soft); margin: .25rem 0 1.75rem; }}
article {{ display: grid; grid-template-columns: 1fr auto; gap: .1rem 1rem; align-items: center;
  border: 1px solid var(--line); border-radius: .75rem; padding: .9rem 1.1rem; margin-bottom: .75rem; }}
article h2 {{ font-size: 1rem; margin: 0; overflow-wrap: anywhere; }}
article p {{ margin: 0; color: var(--soft); }}
article time {{ font-size: .85rem; color: var(--soft); }}
.code {{ grid-row: span 3; font: 600 1.6rem ui-monospace, monospace; letter-spacing: .12em; user-select: all; }}
.empty {{ border: 1px dashed var(--line); border-radius: .75rem; padding: 2.5rem; text-align: center;
  color: var(--soft); }}
</style></head>
<body><header><h1>Sandbox inbox</h1>
<p>What would have been sent by SMS or e-mail. Development only; newest first, renewed by itself.</p></header>
<main>{messages}</main>
<script>
setInterval(async () => {{
  if (document.hidden) return;
  try {{
    const text = await (await fetch(location.href)).text();
    const fresh = new DOMParser().parseFromString(text, "text/html").querySelector("main").innerHTML;
    const main = document.querySelector("main");
    if (main.innerHTML !== fresh) main.innerHTML = fresh;
  }} catch {{ /* the server is restarting: the next turn tries again */ }}
}}, 2000);
</script></body></html>"""


def render(inbox: Inbox) -> str:
    messages = "".join(map(_article, inbox.items))
    return _PAGE.format(messages=messages or _EMPTY)


def _article(message: SandboxMessageOut) -> str:
    code = _CODE.search(message.body)
    shown = f'<div class="code">{code.group(1)}</div>' if code else ""
    at = message.sent_at.strftime("%Y-%m-%d %H:%M:%S UTC")
    return (
        f"<article><h2>{html.escape(message.destination)}</h2>{shown}"
        f'<p>{html.escape(message.body)}</p><time datetime="{message.sent_at.isoformat()}">{at}</time></article>'
    )
