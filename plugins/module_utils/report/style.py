# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report's style sheet: light, dark, narrow and paper. It stands in the page, which loads nothing from anywhere."""

from __future__ import annotations

CSS = """
:root {
  color-scheme: light dark;
  --page: #f4f3ee; --card: #fffefb; --sunk: #f8f6f0; --ink: #1f2023; --soft: #63646b; --line: #e2dfd5;
  --accent: #e8b900;
  --passed: #17713f; --passed-tint: #e3f2e8;
  --warned: #8a5800; --warned-tint: #fdf1d3;
  --failed: #b3202a; --failed-tint: #fce8e7;
  --blocked: #6a3fb0; --blocked-tint: #f0e9fb;
  --idle: #63646b; --idle-tint: #ecebe5;
  --mono: ui-monospace, SFMono-Regular, "Cascadia Mono", Menlo, "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #16171a; --card: #1f2124; --sunk: #26282c; --ink: #ecebe6; --soft: #a3a4ab; --line: #36383e;
    --accent: #f0c420;
    --passed: #6fd08f; --passed-tint: #1b3325;
    --warned: #f0bd4f; --warned-tint: #392d13;
    --failed: #ff8f8a; --failed-tint: #41201f;
    --blocked: #c0a2f5; --blocked-tint: #2f2645;
    --idle: #a3a4ab; --idle-tint: #2d2f34;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 36px 24px 56px; }
h1, h2, h3, p, ul, ol, dl, dd, figure, pre, table { margin: 0; padding: 0; }
h2 { font-size: 19px; line-height: 1.3; letter-spacing: -.01em; }
h3 { font-size: 13px; line-height: 1.4; font-weight: 650; color: var(--soft); }
a { color: inherit; text-decoration-color: var(--line); text-underline-offset: 3px; }
a:hover { text-decoration-color: currentColor; }
code, pre, .mono { font-family: var(--mono); font-size: .9em; }
ul, ol { list-style: none; }
section { margin-top: 40px; }
section > h2 { margin-bottom: 14px; }
.soft { color: var(--soft); }
.passed { --tone: var(--passed); --tint: var(--passed-tint); }
.warned { --tone: var(--warned); --tint: var(--warned-tint); }
.failed { --tone: var(--failed); --tint: var(--failed-tint); }
.blocked { --tone: var(--blocked); --tint: var(--blocked-tint); }
.skipped, .not_applicable, .no_run { --tone: var(--idle); --tint: var(--idle-tint); }

/* The verdict */
.overline { font-size: 13px; color: var(--soft); display: flex; align-items: center; gap: 8px; }
.overline::before { content: ""; width: 22px; height: 4px; border-radius: 2px; background: var(--accent); }
.verdict { display: flex; align-items: center; gap: 16px; margin-top: 14px; }
.verdict .seal { flex: none; width: 52px; height: 52px; border-radius: 50%; display: grid; place-items: center;
  background: var(--tint); color: var(--tone); font-size: 26px; font-weight: 700; line-height: 1; }
h1 { font-size: 36px; line-height: 1.12; letter-spacing: -.025em; font-weight: 700; }
.verdict p { color: var(--soft); margin-top: 3px; }
.notice { margin-top: 20px; padding: 10px 14px; border-radius: 8px; background: var(--idle-tint); }
.facts { display: grid; grid-template-columns: auto auto minmax(0, 1fr) auto; gap: 16px 28px;
  margin-top: 28px; padding: 18px 0; border-top: 1px solid var(--line); border-bottom: 1px solid var(--line); }
.facts dt { font-size: 13px; color: var(--soft); }
.facts dd { overflow-wrap: anywhere; }
.facts .note { color: var(--warned); font-weight: 600; }

/* The path */
.path { display: flex; margin-top: 24px; border-radius: 10px; overflow: hidden; border: 1px solid var(--line);
  background: var(--card); }
.path li { flex: 1 1 0; padding: 12px 14px 13px; border-left: 1px solid var(--line); min-width: 0;
  box-shadow: inset 0 3px 0 var(--tone); }
.path li:first-child { border-left: 0; }
.path b { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 8px; font-weight: 650; }
.path b span { font-weight: 400; color: var(--soft); white-space: nowrap; font-variant-numeric: tabular-nums; }
.path small { display: block; font-size: 13px; color: var(--tone); }

/* Failures and stand-ins */
.failure { background: var(--failed-tint); border-radius: 10px; padding: 16px 18px; margin-top: 10px; }
.failure header { display: flex; flex-wrap: wrap; gap: 2px 14px; align-items: baseline;
  justify-content: space-between; }
.failure header b { color: var(--failed); }
.failure pre { margin-top: 8px; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 13px; line-height: 1.5; }
.stand-ins { border: 1.5px dashed var(--warned); border-radius: 12px; background: var(--warned-tint);
  padding: 18px 20px 8px; }
.stand-ins h2 { margin: 0; }
.stand-ins > p { margin: 2px 0 8px; max-width: 70ch; }
.stand-ins td, .stand-ins th { border-color: color-mix(in srgb, var(--warned) 28%, transparent); }
.stand-ins th { color: var(--warned); }
.none { color: var(--soft); }

/* Tables */
table { width: 100%; border-collapse: collapse; }
th { text-align: left; font-size: 13px; font-weight: 500; color: var(--soft); padding: 6px 14px 6px 0; }
td { vertical-align: top; padding: 9px 14px 9px 0; border-top: 1px solid var(--line); overflow-wrap: anywhere; }
td:last-child, th:last-child { padding-right: 0; }
.panel { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 8px 18px; }
.panel tr:first-child th { border-top: 0; }
.hosts td:first-child { font-weight: 600; }
.hosts td:nth-child(-n+3), .hosts th { white-space: nowrap; }
.hosts td:nth-child(4) { min-width: 150px; }
.hosts td:nth-child(5) { min-width: 170px; }
.name { white-space: nowrap; }
.differs { color: var(--warned); }
.chip { display: inline-flex; align-items: baseline; gap: 5px; padding: 1px 9px 1px 7px; border-radius: 99px;
  background: var(--tint); color: var(--tone); font-size: 13px; font-weight: 600; white-space: nowrap; }
.checks .chip { place-self: start; margin-top: 1px; }
.chip i { font-style: normal; width: 1em; text-align: center; }

/* One host */
.host { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 20px 22px 22px;
  margin-top: 16px;
  scroll-margin-top: 12px; }
.host > header { display: flex; flex-wrap: wrap; gap: 4px 12px; align-items: center; }
.host > header p { color: var(--soft); }
.host .why { margin-top: 4px; color: var(--soft); }
.columns { display: grid; grid-template-columns: minmax(0, 1fr) 300px; gap: 8px 32px; align-items: start; }
.columns.plain { grid-template-columns: minmax(0, 1fr); }
.columns h3 { margin: 20px 0 6px; }
figure { margin-top: 22px; }
figure img { display: block; width: 100%; height: auto; border-radius: 8px; border: 1px solid var(--line);
  background: #fff; }
figcaption { margin-top: 6px; font-size: 13px; color: var(--soft); }
.checks > li { display: grid; grid-template-columns: 132px minmax(0, 1fr); gap: 0 10px; padding: 9px 0;
  border-top: 1px solid var(--line); }
.checks > li:first-child { border-top: 0; }
summary { color: var(--soft); cursor: pointer; padding: 4px 0; }
.checks b { font-weight: 600; }
.checks .id { color: var(--soft); margin-left: 8px; white-space: nowrap; }
.pairs { display: grid; grid-template-columns: 68px minmax(0, 1fr); gap: 1px 8px; font-size: 14px; margin-top: 2px; }
.pairs dt { color: var(--soft); }
.pairs dd { overflow-wrap: anywhere; }
.tests { columns: 2; column-gap: 28px; font-size: 14px; }
.tests li { break-inside: avoid; padding: 2px 0 2px 22px; position: relative; }
.tests li > i { position: absolute; left: 2px; font-style: normal; font-weight: 700; color: var(--tone); }
.tests li.failed { column-span: all; background: var(--tint); border-radius: 6px; padding: 6px 10px 6px 28px;
  margin: 4px 0; }
.tests li.failed > i { left: 10px; }
.tests li p { color: var(--soft); overflow-wrap: anywhere; }
.tests li.failed p { color: var(--ink); font-family: var(--mono); font-size: 13px; }
.vm { font-size: 14px; }
.vm ol { display: flex; flex-wrap: wrap; gap: 4px 8px; margin-top: 6px; }
.vm ol li { background: var(--sunk); border: 1px solid var(--line); border-radius: 6px; padding: 1px 8px;
  font-size: 13px; }
.columns > aside h3 { margin-top: 20px; }

/* Slowest tasks */
.bars { padding: 12px 18px; }
.bars li { display: grid; grid-template-columns: minmax(0, 1fr) 30% 84px; gap: 14px; align-items: center;
  padding: 4px 0; }
.bars i { display: block; height: 8px; border-radius: 4px; background: var(--accent); min-width: 2px; }
.bars span:last-child { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
footer { margin-top: 40px; padding-top: 14px; border-top: 1px solid var(--line); font-size: 13px; color: var(--soft); }

@media screen and (max-width: 760px) {
  main { padding: 24px 16px 40px; }
  h1 { font-size: 28px; }
  .facts { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 14px 20px; }
  .path { flex-direction: column; }
  .path li { display: flex; flex-wrap: wrap; gap: 0 12px; justify-content: space-between; border-left: 0;
    padding: 8px 12px 8px 16px;
    border-top: 1px solid var(--line); box-shadow: inset 4px 0 0 var(--tone); }
  .path li:first-child { border-top: 0; }
  .path b { flex: 1 1 auto; }
  .path small { flex: 0 0 100%; }
  table.stack thead { display: none; }
  table.stack tr { display: block; padding: 10px 0; border-top: 1px solid var(--line); }
  table.stack tbody tr:first-child { border-top: 0; }
  table.stack td { display: grid; grid-template-columns: 92px minmax(0, 1fr); border: 0; padding: 1px 0;
    min-width: 0; white-space: normal; }
  table.stack td::before { content: attr(data-label); color: var(--soft); font-weight: 400; font-size: 13px; }
  .stand-ins { padding: 16px 16px 6px; }
  .stand-ins table.stack tr { border-color: color-mix(in srgb, var(--warned) 28%, transparent); }
  .host { padding: 16px; }
  .columns { grid-template-columns: minmax(0, 1fr); }
  .checks > li { grid-template-columns: minmax(0, 1fr); gap: 4px; }
  .tests { columns: 1; }
  .bars li { grid-template-columns: minmax(0, 1fr) auto; }
  .bars li > div { display: none; }
}
@media print {
  :root { --page: #fff; --card: #fff; --sunk: #fff; --ink: #000; --soft: #555; --line: #ccc;
    --passed: #17713f; --passed-tint: #e3f2e8; --warned: #8a5800; --warned-tint: #fdf1d3; --failed: #b3202a;
    --failed-tint: #fce8e7; --blocked: #6a3fb0; --blocked-tint: #f0e9fb; --idle: #555; --idle-tint: #eee; }
  body { font-size: 9pt; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  main { max-width: none; padding: 0; }
  section { margin-top: 20pt; }
  h1 { font-size: 24pt; }
  .hosts td:nth-child(n) { min-width: 0; }
  .columns { grid-template-columns: minmax(0, 1fr) 190px; gap: 8px 22px; }
  .checks > li { grid-template-columns: 116px minmax(0, 1fr); }
  .pairs, .tests, .vm { font-size: 8.5pt; }
  .failure, .stand-ins, .path, .checks > li, .vm, figure, tr { break-inside: avoid; }
  h2, h3, .host > header { break-after: avoid; }
}
"""
