"""How the gallery's pages look, and what they do when they are touched: their CSS and script."""

from __future__ import annotations

import base64
import hashlib

from guided_dip.experiments.document import STYLE

CSS = (
    STYLE
    + """
:root { --warn: #8a4b00; --warn-band: #fdf1dc; --bad: #a4262c; --well: #e9edf1; }
@media (prefers-color-scheme: dark) { :root { --warn: #f0b964; --warn-band: #33281a;
  --bad: #ff8f8f; --well: #0c1013; } }
[hidden] { display: none !important; }
* { box-sizing: border-box; }
body { max-width: 112rem; }
a { color: var(--link); } h1 { margin: 0 0 1rem; overflow-wrap: anywhere; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.figures { display: flex; flex-wrap: wrap; gap: 0.6rem; margin: 0 0 1rem; }
.figures div { flex: 1 1 8.5rem; padding: 0.6rem 0.8rem; background: var(--band);
  border-radius: 6px; }
.figures dt { font-size: 0.82rem; }
.figures dd { margin: 0; font-size: 1.35rem; font-weight: 600; white-space: nowrap; }
.figures .bad dd, .figures .bad a { color: var(--bad); }
.summary { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 15.5rem), 1fr));
  gap: 1rem 1.5rem; align-items: start; margin-bottom: 1.5rem; }
.summary h2 { margin: 0 0 0.5rem; font-size: 1rem; border: 0; }
.summary ol, .summary ul { margin: 0; padding-left: 1.4rem; }
.summary li { overflow-wrap: anywhere; }
.summary section > p { margin: 0.5rem 0 0; }
.about { display: grid; grid-template-columns: max-content 1fr; gap: 0.15rem 1rem; margin: 0; }
.about dd { margin: 0; overflow-wrap: anywhere; }
.bars { display: block; width: 100%; height: 7rem; border-bottom: 1px solid var(--ink); }
.bars rect { fill: var(--link); } .bars rect:hover { opacity: 0.7; }
.axis { display: flex; justify-content: space-between; font-size: 0.82rem; }
.tools { position: sticky; top: 0; z-index: 2; display: flex; flex-wrap: wrap; gap: 0.4rem 1.2rem;
  align-items: center; margin: 0 -0.5rem 1rem; padding: 0.5rem; background: var(--paper);
  border-bottom: 1px solid var(--faint); }
.tools input[type=search] { flex: 1 1 9rem; max-width: 22rem; min-width: 0; padding: 0.35rem 0.6rem;
  font: inherit; color: inherit; background: var(--band); border: 1px solid var(--faint);
  border-radius: 6px; }
.tools label { white-space: nowrap; } .tools output { font-size: 0.86rem; }
.hint { margin: 0 0 0.8rem; font-size: 0.86rem; }
.tools fieldset { display: flex; gap: 0.9rem; margin: 0; padding: 0; border: 0; }
.pages { display: flex; flex-wrap: wrap; gap: 0.3rem; margin: 1rem 0; align-items: center; }
.pages a, .pages span { padding: 0.25rem 0.65rem; border-radius: 6px; }
.pages a { background: var(--band); text-decoration: none; }
.pages [aria-current] { background: var(--link); color: var(--paper); }
.cards { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 31rem), 1fr)); }
.card { padding: 0.7rem; border: 1px solid var(--faint); border-radius: 8px; min-width: 0;
  scroll-margin-top: 5rem; }
.card:target { border-color: var(--link); box-shadow: 0 0 0 2px var(--link); }
.card h2 { margin: 0 0 0.5rem; padding: 0; border: 0; font-size: 0.95rem; overflow-wrap: anywhere; }
.card p { margin: 0.4rem 0 0; font-size: 0.86rem; overflow-wrap: anywhere; }
.pair { display: grid; grid-template-columns: repeat(2, minmax(0, 320px)); gap: 4px; }
.view { display: grid; aspect-ratio: 1; width: 100%; margin: 0; padding: 0; border: 0;
  overflow: hidden; border-radius: 4px; background: var(--well); color: inherit; cursor: pointer;
  font: inherit; touch-action: manipulation; -webkit-tap-highlight-color: transparent; }
.layer { grid-area: 1 / 1; position: relative; display: grid; min-width: 0; min-height: 0;
  place-items: center; overflow: hidden; }
.layer img { grid-area: 1 / 1; transform: scale(2); image-rendering: pixelated; }
.layer img.whole, .whole-view .layer img.detail { display: none; }
.whole-view .layer img { display: block; width: 100%; height: 100%; min-height: 0;
  object-fit: contain; transform: none; image-rendering: auto; position: absolute; inset: 0; }
.whole-view .layer img.pixels { image-rendering: pixelated; }
.side { position: absolute; left: 6px; bottom: 6px; padding: 0 0.45rem; border-radius: 4px;
  background: rgb(0 0 0 / 0.66); color: #ffffff; font-size: 0.78rem; }
.other { visibility: hidden; }
.view[aria-pressed=true] .own { visibility: hidden; }
.view[aria-pressed=true] .other { visibility: visible; }
@media (hover: hover) {
  .view:hover .own { visibility: hidden; } .view:hover .other { visibility: visible; }
  .view[aria-pressed=true]:hover .own { visibility: visible; }
  .view[aria-pressed=true]:hover .other { visibility: hidden; } }
.missing { display: grid; place-items: center; max-width: 644px; min-height: 8rem;
  background: var(--well); border-radius: 4px; }
.card .warning { padding: 0.25rem 0.6rem; border-radius: 4px; color: var(--warn);
  background: var(--warn-band); }
.links a { margin-right: 1rem; }
.failed td, .failed th { overflow-wrap: anywhere; min-width: 6.5rem; }
.failed td:last-child, .failed thead th:last-child { min-width: 0; overflow-wrap: normal; }
@media (max-width: 40rem) { body { padding: 0.75rem; }
  .figures div { flex-basis: 6.5rem; padding: 0.4rem 0.6rem; } .figures dd { font-size: 1.1rem; } }
@media (max-height: 30rem), (max-width: 40rem) { .tools { position: static; } }
"""
)

SCRIPT = """
(() => {
  "use strict";
  for (const view of document.querySelectorAll(".view")) {
    const press = (on) => view.setAttribute("aria-pressed", String(on));
    view.addEventListener("click", () => press(view.getAttribute("aria-pressed") !== "true"));
    view.addEventListener("mouseleave", () => press(false));
  }
  const tools = document.querySelector(".tools");
  if (!tools) return;
  tools.hidden = false;
  const cards = Array.from(document.querySelectorAll(".card"),
    (card) => [card, card.querySelector("h2").textContent.toLowerCase()]);
  const { name, noted, count } = tools.elements;
  const filter = () => {
    const wanted = name.value.trim().toLowerCase();
    let shown = 0;
    for (const [card, title] of cards) {
      card.hidden = !title.includes(wanted) || (noted.checked && !card.querySelector(".warning"));
      if (!card.hidden) shown += 1;
    }
    count.value = shown === cards.length ? "" : `${shown} of ${cards.length} on this page`;
  };
  const look = () => {
    document.body.classList.toggle("whole-view", tools.elements.look.value === "whole");
    try { sessionStorage.setItem("look", tools.elements.look.value); } catch { /* not kept */ }
  };
  try { tools.elements.look.value = sessionStorage.getItem("look") || "detail"; }
  catch { tools.elements.look.value = "detail"; }
  tools.addEventListener("submit", (event) => event.preventDefault());
  tools.addEventListener("input", () => { filter(); look(); });
  addEventListener("hashchange", () => {  /* what was asked for is not filtered away */
    name.value = "";
    noted.checked = false;
    filter();
    const target = document.getElementById(location.hash.slice(1));
    if (target) target.scrollIntoView();
  });
  filter();
  look();
})();
"""

# Only this very script runs, whatever a file is called.
_DIGEST = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
POLICY = f"script-src 'sha256-{_DIGEST}'; object-src 'none'; base-uri 'none'; form-action 'none'"
