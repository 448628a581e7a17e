#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""page.py IN.md OUT.html - one self-contained HTML page of a Markdown file: its SVGs go into it.

Knows the Markdown that the reports here are written in: headings, paragraphs, tables, lists (with
check boxes), fenced code, images that stand alone, and `code`, **bold** and links in a line.
"""
import html
import os
import re
import sys

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1c1c1c; background: #fff; margin: 2rem auto;
       max-width: 52rem; padding: 0 1rem }
h1, h2, h3 { line-height: 1.2; margin: 2rem 0 .6rem }
h1 { margin-top: 0 }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
th, td { border-bottom: 1px solid #ccc; padding: .3rem .7rem; text-align: left; vertical-align: top }
th { border-bottom: 2px solid #666 }
td.n { text-align: right; white-space: nowrap }
code { font: .9em ui-monospace, "DejaVu Sans Mono", monospace; background: #f2f2f2; padding: 0 .2em }
pre { background: #f2f2f2; padding: .8rem 1rem; overflow-x: auto; line-height: 1.35 }
pre code { padding: 0 }
li.box { list-style: none; margin-left: -1.3rem }
figure { margin: 1.2rem 0 }
svg { max-width: 100%; height: auto }
"""


def inline(text):
    """`code`, **bold** and [links](…); code first, so that nothing in it is taken for either."""
    parts = re.split(r"(`[^`]+`)", text)
    for i, part in enumerate(parts):
        if i % 2:
            parts[i] = f"<code>{html.escape(part[1:-1])}</code>"
            continue
        part = html.escape(part, quote=False)
        part = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", part)
        parts[i] = re.sub(r"\[([^]]+)\]\(([^)]+)\)", r'<a href="\2">\1</a>', part)
    return "".join(parts)


def cells(row):
    return [cell.strip() for cell in row.strip().strip("|").split("|")]


def table(rows):
    right = [bool(re.fullmatch(r"-+:", cell)) for cell in cells(rows[1])]
    out = ["<table>", "<tr>" + "".join(f"<th>{inline(c)}</th>" for c in cells(rows[0])) + "</tr>"]
    for row in rows[2:]:
        out.append("<tr>" + "".join(
            f'<td{" class=n" if is_right else ""}>{inline(c)}</td>'
            for c, is_right in zip(cells(row), right)) + "</tr>")
    return out + ["</table>"]


def item(text):
    box = re.match(r"\[([ x])\] (.*)", text, re.S)
    if not box:
        return f"<li>{inline(text)}</li>"
    return f'<li class=box>{"&#9745;" if box[1] == "x" else "&#9744;"} {inline(box[2])}</li>'


def items(lines):
    texts = []
    for line in lines:
        if line.startswith("- "):
            texts.append(line[2:])
        else:
            texts[-1] += " " + line.strip()
    return ["<ul>", *map(item, texts), "</ul>"]


def image(line, folder):
    alt, path = re.fullmatch(r"!\[([^]]*)\]\(([^)]+)\)", line).groups()
    with open(os.path.join(folder, path)) as f:
        svg = f.read()
    svg = svg[svg.index("<svg"):]
    # Names within it are the page's: two plots must not share them.
    tag = re.sub(r"\W", "", path)
    svg = re.sub(r"(id=['\"]|href=['\"]#|url\(#)", rf"\g<1>{tag}-", svg)
    return [f'<figure role="img" aria-label="{html.escape(alt)}">{svg}</figure>']


def block(lines, folder):
    first = lines[0]
    heading = re.match(r"(#+) (.*)", first)
    if heading:
        level = len(heading[1])
        return [f"<h{level}>{inline(heading[2])}</h{level}>"]
    if first.startswith("|"):
        return table(lines)
    if first.startswith("- "):
        return items(lines)
    if first.startswith("!["):
        return image(first, folder)
    return [f"<p>{inline(' '.join(lines))}</p>"]


def blocks(text):
    """Runs of lines between empty ones, and what stands between fences."""
    run = []
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("```"):
            if run:
                yield run, False
            run = []
            for code in lines:
                if code.startswith("```"):
                    break
                run.append(code)
            yield run, True
            run = []
        elif line.strip():
            run.append(line)
        elif run:
            yield run, False
            run = []
    if run:
        yield run, False


def page(text, folder):
    title = re.search(r"^# (.*)$", text, re.M)
    out = ["<!DOCTYPE html>", '<html lang="en">', "<head>", '<meta charset="utf-8">',
           '<meta name="viewport" content="width=device-width, initial-scale=1">',
           f"<title>{html.escape(title[1] if title else 'Report')}</title>",
           f"<style>{STYLE}</style>", "</head>", "<body>"]
    for lines, is_code in blocks(text):
        if is_code:
            out.append("<pre><code>" + html.escape("\n".join(lines)) + "</code></pre>")
        else:
            out += block(lines, folder)
    return "\n".join(out + ["</body>", "</html>", ""])


def main(argv):
    if len(argv) != 3:
        sys.stderr.write(__doc__)
        return 2
    with open(argv[1]) as f:
        text = f.read()
    with open(argv[2], "w") as f:
        f.write(page(text, os.path.dirname(argv[1]) or "."))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
