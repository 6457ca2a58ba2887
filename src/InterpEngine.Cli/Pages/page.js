"use strict";
// Tokens are foreign text: they only ever become text nodes, never markup, and what is invisible in them is spelled out.

const at = id => document.getElementById(id);
const minus = "\u2212";

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function visible(text) {
  return text.replaceAll("\n", "\u21b5").replaceAll("\t", "\u21e5")
    .replace(/(?! )[\p{C}\p{Z}]/gu, c => `<U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}>`);
}
const quoted = text => `\u2018${visible(text)}\u2019`;
const chip = text => visible(text).trim() || "\u2423";
const signed = x => Math.abs(x) < .005 ? "0.00" : (x < 0 ? minus : "+") + Math.abs(x).toFixed(2);
const percent = p => p >= .9995 ? "100 %" : p < .0005 ? "<0.1 %" : (p * 100).toFixed(1) + " %";

/** Colours an element by v: −1 … 1, or 0 … 1. */
function heat(element, v) {
  element.classList.add("heat");
  element.classList.toggle("minus", v < 0);
  element.classList.toggle("strong", Math.abs(v) > .55);
  element.style.setProperty("--v", Math.abs(v).toFixed(3));
}

/** One tab stop for a group, at first the last item or the given one; arrows, Home and End move inside it. */
function roving(rows, start) {
  const items = rows.flat();
  const go = item => {
    items.forEach(other => other.tabIndex = -1);
    item.tabIndex = 0;
  };
  go(start ?? items[items.length - 1]);
  rows.forEach((row, y) => row.forEach((item, x) => {
    item.addEventListener("focus", () => go(item));
    item.addEventListener("keydown", event => {
      const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0],
        Home: [0, -Infinity], End: [0, Infinity] }[event.key];
      if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      const ny = Math.min(Math.max(y + step[0], 0), rows.length - 1);
      rows[ny][Math.min(Math.max(x + step[1], 0), rows[ny].length - 1)].focus();
    });
  }));
}

/** A table row: name, bar, number and more. The bar spans share of its track, from its zero on. */
function barRow(name, value, share, text, extra, zero = 0) {
  const bar = make("div", { className: zero ? "bar two" : "bar" });
  bar.style.setProperty("--zero", zero * 100 + "%");
  const filled = make("span", { className: value < 0 ? "minus" : "" });
  filled.style.left = (value < 0 ? zero - share : zero) * 100 + "%";
  filled.style.width = share * 100 + "%";
  bar.append(filled);
  const head = make("th", { scope: "row" }, name);
  if (typeof name === "string") head.title = name;
  const row = make("tr", {}, head, make("td", {}, bar), make("td", { className: "number", textContent: text }));
  if (extra !== undefined) row.append(make("td", { className: "source token", textContent: extra, title: extra }));
  return row;
}

// Theme ----------------------------------------------------------------------------------------------------------------------

/** Wires the button that switches between light and dark; redraw is called after each change, and at first. */
function theme(redraw = () => {}) {
  const system = window.matchMedia("(prefers-color-scheme: dark)"), root = document.documentElement;
  // A browser may refuse storage to files; the toggle then lasts for the visit.
  const storage = { get: () => { try { return localStorage.getItem("theme"); } catch { return null; } },
    set: value => { try { localStorage.setItem("theme", value); } catch { /* for this visit only */ } } };
  const isDark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const changed = () => {
    at("theme").textContent = isDark() ? "Light theme" : "Dark theme";
    redraw();
  };
  const stored = storage.get();
  if (stored === "light" || stored === "dark") root.dataset.theme = stored;
  at("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    storage.set(root.dataset.theme);
    changed();
  });
  system.addEventListener("change", changed);
  changed();
}

document.querySelectorAll(".scale").forEach(scale => {
  const diverging = scale.classList.contains("diverging");
  scale.append(make("i"));
  [scale.dataset.from, scale.dataset.to] = diverging ? [minus, "+"] : ["0 %", "100 %"];
});
