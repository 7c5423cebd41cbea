"""The template of report.html: one self-contained page, readable on phones, in light and in dark.

It lives in a Python string so that it is always where the code is. The series colours are those of canvas.py, the dark
ones of them lightened on a dark page. Values are escaped; figures and plug-in sections are
HTML already.
"""

from __future__ import annotations

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ title }} · coinkit</title>
<style>
:root { --ink: #24292f; --soft: #5c6670; --page: #f6f7f9; --card: #ffffff; --rule: #d5dae0; --accent: #0072b2;
        --warn: #fff4d6; --warn-ink: #6b4b00; --series-0: #0072b2; --series-3: #b8559a; --series-6: #7a5c3e;
        --series-7: #6b6b6b; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ec; --soft: #9aa5b1; --page: #14181d; --card: #1d232a; --rule: #39424d; --accent: #5ab0e8;
          --warn: #3b3014; --warn-ink: #f3d98b; --series-0: #4fa8e0; --series-3: #d886bf; --series-6: #b08d66;
          --series-7: #a3a3a3; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
       font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 20px 16px 48px; }
h1 { font-size: 1.55rem; margin: .4em 0 .1em; overflow-wrap: anywhere; }
h2 { font-size: 1.12rem; margin: 0 0 .6em; }
h3 { font-size: 1rem; margin: 1.2em 0 .4em; }
p { margin: .4em 0; }
.soft { color: var(--soft); }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 16px; margin: 16px 0; }
.flags { list-style: none; padding: 0; margin: 12px 0; }
.flags li { background: var(--warn); color: var(--warn-ink); border-radius: 8px; padding: 8px 12px; margin: 6px 0;
            overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 10px; margin: 16px 0; }
.tile { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 10px 14px; }
.tile b { display: block; font-size: 1.45rem; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: .82rem; }
.wide { overflow-x: auto; -webkit-overflow-scrolling: touch; }
.wide svg { display: block; max-width: 100%; height: auto; min-width: var(--least, 0); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: 5px 14px 5px 0; text-align: left; white-space: nowrap;
         border-bottom: 1px solid var(--rule); vertical-align: top; }
th.num, td.num { text-align: right; }
tbody tr:last-child > * { border-bottom: 0; }
th { color: var(--soft); font-weight: 600; }
code, pre { font: .84rem/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre { overflow: auto; max-height: 28em; margin: 0; }
summary { cursor: pointer; font-weight: 600; }
dl { display: grid; grid-template-columns: minmax(110px, max-content) 1fr; gap: 4px 16px; margin: 8px 0 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
ul.plain { padding-left: 1.2em; margin: .4em 0; }
@media (max-width: 520px) {
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 6px; } .card { padding: 12px; } }
</style>
</head>
<body>
<main>
<h1>{{ title }}</h1>
<p class="soft">{{ subtitle }}</p>
{% if flags %}<ul class="flags">{% for flag in flags %}<li>{{ flag }}</li>{% endfor %}</ul>{% endif %}
{% if tiles %}<div class="tiles">{% for tile in tiles %}
<div class="tile"><span>{{ tile.name }} {{ tile.arrow }}</span><b>{{ tile.value }}</b><span>{{ tile.note }}</span></div>
{% endfor %}</div>{% endif %}
{% for figure in figures %}
<section class="card"><h2>{{ figure.title }}</h2>
{% if figure.note %}<p class="soft">{{ figure.note }}</p>{% endif %}
<div class="wide" style="--least: {{ figure.least }}px">{{ figure.svg }}</div></section>
{% endfor %}
{% for table in tables %}
<section class="card"><h2>{{ table.title }}</h2>
<div class="wide"><table><thead><tr><th>{{ table.corner }}</th>
{% for column in table.columns %}<th{{ column.attribute }}>{{ column.text }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in table.rows %}<tr><th scope="row">{{ row.label }}</th>
{% for cell in row.cells %}<td{{ cell.attribute }}>{{ cell.text }}</td>{% endfor %}</tr>{% endfor %}</tbody>
</table></div>
{% for note in table.notes %}<p class="soft">{{ note }}</p>{% endfor %}</section>
{% endfor %}
{% for section in sections %}
<section class="card"><h2>{{ section.title }}</h2>{{ section.html }}</section>
{% endfor %}
{% if plugins %}
<section class="card"><h2>Plug-ins</h2><div class="wide"><table>
<thead><tr><th>name</th><th>version</th><th>file</th><th>SHA-256</th></tr></thead>
<tbody>{% for plugin in plugins %}<tr><td>{{ plugin.name }}</td><td>{{ plugin.version }}</td><td>{{ plugin.file }}</td>
<td><code>{{ (plugin.sha256 or '')[:16] }}</code></td></tr>{% endfor %}</tbody></table></div></section>
{% endif %}
{% if environment %}
<section class="card"><details><summary>Environment</summary><dl>
{% for key, value in environment %}<dt>{{ key }}</dt><dd>{{ value }}</dd>{% endfor %}</dl></details></section>
{% endif %}
{% if config %}
<section class="card"><details><summary>Configuration</summary><pre>{{ config }}</pre></details></section>
{% endif %}
<p class="soft">Scores are percent, 0 to 100. Made by coinkit.</p>
</main>
</body>
</html>
"""
