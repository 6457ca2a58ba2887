const data = JSON.parse(at("data").textContent);
const blocks = [...document.querySelectorAll("script.block")];
const rowHeight = 54;
const place = new Map(data.feature.map((feature, i) => [feature, i]));
const names = data.tokens.map(visible);
const lower = data.tokens.map(token => token.toLowerCase());
const dead = Array.from({ length: data.features }, (_, f) => f).filter(f => !place.has(f));
const rate = p => Number((p * 100).toPrecision(2)) + " %";
const amount = x => Math.abs(x) >= 100 ? x.toFixed(0) : Math.abs(x) >= 10 ? x.toFixed(1) : x.toFixed(2);
const whole = n => n.toLocaleString("en-US");
let shown = [], selected = null, bin = null, hits = new Set(), search = 0;

// Blocks: examples and all else of some features each, unpacked when first needed ---------------------------------------------

const unpacked = new Map();
function unpack(block) {
  if (!unpacked.has(block)) unpacked.set(block, (async () => {
    const bytes = Uint8Array.from(atob(blocks[block].textContent), c => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    return JSON.parse(await new Response(stream).text());
  })());
  return unpacked.get(block);
}
const details = async i => (await unpack(Math.floor(i / data.block)))[i % data.block];
const pairs = list => Array.from({ length: list.length / 2 }, (_, i) => [list[2 * i], list[2 * i + 1]]);

// Summary --------------------------------------------------------------------------------------------------------------------

/** Bars of counts, as high as the logarithm of each; they are buttons where something is to happen. */
function chart(counts, title, press) {
  const most = Math.log1p(Math.max(...counts, 1));
  return make("div", { className: "chart" }, ...counts.map((count, i) => {
    const bar = make("i");
    bar.style.height = count ? Math.max(3, Math.log1p(count) / most * 100) + "%" : "0";
    const box = make(press ? "button" : "div", { title: title(i, count) }, bar);
    if (press) {
      box.type = "button";
      box.setAttribute("aria-label", title(i, count));
      box.addEventListener("click", () => press(i, box));
    }
    return box;
  }));
}
const axis = (...labels) => make("div", { className: "axis" }, ...labels.map(label => make("span", { textContent: label })));

const binsADecade = 5;
const lowest = Math.min(-2, Math.floor(Math.log10(Math.min(...data.density, 1))));
const binOf = density => Math.min(-lowest * binsADecade - 1, Math.floor((Math.log10(density) - lowest) * binsADecade));

function summary() {
  document.title = `${data.dictionary} \u00b7 interp features`;
  at("source").textContent = `\u00b7 ${data.dictionary} \u00b7 ${data.model}`;
  at("h-page").textContent = `${whole(data.features)} features at ${data.point}`;
  const figure = (name, value, small = "") => make("div", {}, make("dt", { textContent: name }),
    make("dd", {}, value, make("small", { textContent: small ? " " + small : "" })));
  at("figures").append(
    figure("alive", whole(data.feature.length), percent(data.feature.length / data.features)),
    figure("dead", whole(dead.length), percent(dead.length / data.features)),
    figure("active at a token", data.l0.toFixed(1), data.kind),
    figure("tokens seen", whole(data.tokens_seen)));
  const counts = Array(-lowest * binsADecade).fill(0);
  data.density.forEach(density => counts[binOf(density)]++);
  const range = i => [lowest + i / binsADecade, lowest + (i + 1) / binsADecade].map(e => rate(10 ** e)).join(" to ");
  const press = (i, box) => {
    at("densities").querySelectorAll("[aria-pressed]").forEach(other => other.removeAttribute("aria-pressed"));
    bin = bin === i ? null : i;
    if (bin !== null) box.setAttribute("aria-pressed", "true");
    at("density-note").textContent = bin === null ? "Share of tokens; choose a bar to list its features."
      : `Listed: active at ${range(i)} of tokens.`;
    refresh();
  };
  const labels = Array.from({ length: -lowest + 1 }, (_, i) => rate(10 ** (lowest + i)));
  at("densities").append(chart(counts, (i, count) => `${whole(count)} features at ${range(i)} of tokens`, press), axis(...labels));
}

// List -----------------------------------------------------------------------------------------------------------------------

const orders = {
  density: (a, b) => data.density[b] - data.density[a],
  rare: (a, b) => data.density[a] - data.density[b],
  max: (a, b) => data.max[b] - data.max[a],
  mean: (a, b) => data.mean[b] - data.mean[a],
  share: (a, b) => data.share[b] - data.share[a],
  index: (a, b) => a - b,
};

/** What matches a query: alive features by how early the token stands in their lists, exact tokens first. */
function matches(query, scope) {
  const word = query.toLowerCase();
  hits = new Set(lower.flatMap((token, t) => token.includes(word) ? [t] : []));
  const exact = new Set([...hits].filter(t => lower[t].trim() === word.trim()));
  const lists = scope === "any" ? ["active", "raises", "lowers"] : [scope];
  const score = new Map();
  data.feature.forEach((_, i) => {
    let best = Infinity;
    lists.forEach((list, l) => data[list][i].forEach((token, rank) => {
      if (hits.has(token)) best = Math.min(best, rank + 10 * l + (exact.has(token) ? 0 : 100));
    }));
    if (best < Infinity) score.set(i, best);
  });
  return score;
}

async function matchesInExamples(query, mine) {
  const word = query.toLowerCase(), score = new Map();
  for (let block = 0; block < blocks.length && mine === search; block++) {
    (await unpack(block)).forEach((entry, i) => {
      const found = [...entry.top, ...entry.drawn].filter(e => e.tokens.map(t => lower[t]).join("").includes(word)).length;
      if (found) score.set(block * data.block + i, -found);
    });
    at("count").textContent = `Reading examples \u2026 ${percent((block + 1) / blocks.length)}`;
  }
  return score;
}

async function refresh() {
  const mine = ++search, query = at("query").value, scope = at("scope").value, which = at("which").value;
  const number = /^\s*#?(\d+)\s*$/.exec(query);
  const order = orders[at("sort").value];
  let alive = which === "dead" ? [] : [...data.feature.keys()].sort((a, b) => order(a, b) || a - b);
  let asleep = which === "alive" || bin !== null ? [] : dead;
  hits = new Set();
  if (query.trim() !== "") {
    const score = scope === "examples" ? await matchesInExamples(query, mine) : matches(query, scope);
    if (mine !== search) return;
    const exact = number && Number(number[1]) < data.features ? Number(number[1]) : null;
    alive = alive.filter(i => score.has(i) || data.feature[i] === exact);
    alive.sort((a, b) => (data.feature[b] === exact) - (data.feature[a] === exact) || score.get(a) - score.get(b));
    asleep = dead.filter(f => f === exact);
  }
  if (bin !== null) alive = alive.filter(i => binOf(data.density[i]) === bin);
  shown = [...alive.map(i => data.feature[i]), ...asleep];
  at("count").textContent = shown.length === 1 ? "1 feature" : `${whole(shown.length)} features`;
  at("rows").style.height = shown.length * rowHeight + "px";
  at("list").scrollTop = 0;
  draw();
}

function label(i, list = "active") {
  return data[list][i].map(token => make("code", { textContent: chip(data.tokens[token]), className: hits.has(token) ? "hit" : "" }));
}

function row(feature, n) {
  const i = place.get(feature), number = make("span", { className: "number", textContent: feature });
  const words = list => list.map(token => names[token].trim() || "\u2423").join(" ");
  const element = make("div", { className: "row", id: "row-" + feature }, ...(i === undefined
    ? [make("p", {}, number), make("p", { className: "note", textContent: "never active" })]
    : [make("p", {}, number, ...label(i)),
      make("p", { className: "note" }, make("span", { className: "share", textContent: rate(data.density[i]) }),
        make("span", { textContent: data.raises[i].length ? "raises " + words(data.raises[i]) : "" }))]));
  element.style.top = n * rowHeight + "px";
  element.setAttribute("role", "option");
  element.setAttribute("aria-selected", feature === selected);
  element.addEventListener("click", () => choose(feature));
  return element;
}

/** Only the rows in sight are there. */
function draw() {
  const list = at("list"), first = Math.max(0, Math.floor(list.scrollTop / rowHeight) - 5);
  const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / rowHeight) + 5);
  at("rows").replaceChildren(...shown.slice(first, last).map((feature, k) => row(feature, first + k)));
  list.setAttribute("aria-activedescendant", "row-" + selected);
}

function step(by) {
  const n = Math.min(Math.max(shown.indexOf(selected) + by, 0), shown.length - 1);
  if (n < 0 || shown[n] === selected) return;
  choose(shown[n]);
}

/** Scrolls the list to the chosen feature, if it is in it. */
function reveal() {
  const n = shown.indexOf(selected), list = at("list"), top = n * rowHeight;
  if (n >= 0 && top < list.scrollTop) list.scrollTop = top;
  if (n >= 0 && top + rowHeight > list.scrollTop + list.clientHeight) list.scrollTop = top + rowHeight - list.clientHeight;
}

// One feature ----------------------------------------------------------------------------------------------------------------

function choose(feature) {
  selected = feature;
  try { history.replaceState(null, "", "#" + feature); } catch { /* a browser may refuse it to files */ }
  reveal();
  draw();
  return show(feature);
}

function bars(list, text, share, caption) {
  const body = make("tbody", {}, ...list.map(([token, value]) =>
    barRow(quoted(data.tokens[token]), value, share(value), text(value), undefined, value < 0 ? 1 : 0)));
  return make("div", {}, make("h2", { textContent: caption }), make("table", { className: "bars" }, body));
}

function example(e, max) {
  const values = new Map(pairs(e.active));
  const text = make("div", { className: "text" });
  if (e.first > 0) text.append(make("span", { className: "note", textContent: "\u2026" }));
  e.tokens.forEach((token, k) => {
    const value = values.get(k) ?? 0, raw = data.tokens[token];
    const span = make("span", { textContent: raw.includes("\n") ? names[token] + "\n" : names[token] });
    span.title = `${quoted(raw)} at ${e.first + k}: ${amount(value)}`;
    if (value !== 0) {
      const v = Math.min(1, Math.abs(value) / max);
      span.classList.add("on");
      span.classList.toggle("minus", value < 0);
      span.classList.toggle("strong", v > .5);
      span.style.setProperty("--v", v.toFixed(3));
    }
    if (k === e.peak) span.classList.add("peak");
    text.append(span);
  });
  return make("div", { className: "example" }, make("div", { className: "value", textContent: amount(e.value) }), text);
}

function examples(title, note, list, max) {
  return list.length === 0 ? [] : [make("section", {}, make("h2", {}, title, " ", make("span", { className: "note", textContent: note })),
    ...list.map(e => example(e, max)))];
}

async function show(feature) {
  const i = place.get(feature), nav = make("nav");
  [["\u2039", "Previous in the list", -1], ["\u203a", "Next in the list", 1]].forEach(([text, title, by]) => {
    const button = make("button", { type: "button", textContent: text, title });
    button.addEventListener("click", () => step(by));
    nav.append(button);
  });
  const head = make("div", { className: "head" }, make("h1", {}, `Feature ${feature}`), nav);
  const nothing = text => at("detail").replaceChildren(head, make("p", { className: "empty", textContent: text }));
  if (i === undefined) {
    nothing(`Never active in ${whole(data.tokens_seen)} tokens.`);
    return;
  }
  let entry;
  try {
    entry = await details(i);
  } catch (error) {
    nothing(`This browser could not unpack the examples (${error}).`);
    return;
  }
  if (feature !== selected) return;
  const fact = (value, text) => [make("b", { textContent: value }), text];
  const facts = make("p", { className: "facts" }, "Active at ", ...fact(rate(data.density[i]), ` of tokens (${whole(entry.count)}, in `),
    ...fact(whole(entry.sequences), " sequences); mean "), ...fact(amount(data.mean[i]), ", at most "),
    ...fact(amount(data.max[i]), "."));
  const range = k => `${amount(k * entry.width)} to ${amount((k + 1) * entry.width)}`;
  const histogram = make("div", {}, make("h2", { textContent: "Activations" }),
    chart(entry.histogram, (k, count) => `${range(k)}: ${whole(count)}`), axis("0", amount(entry.histogram.length * entry.width)),
    make("p", { className: "note", textContent: "Heights are logarithms of counts." }));
  const raised = pairs(entry.raised), lowered = pairs(entry.lowered);
  const most = Math.max(1e-9, ...[...raised, ...lowered].map(p => Math.abs(p[1])));
  const logits = data.without_logits ? [make("p", { className: "note", textContent: `No logits: ${data.without_logits}.` })]
    : [bars(raised, signed, v => Math.abs(v) / most, "Raises"), bars(lowered, signed, v => Math.abs(v) / most, "Lowers")];
  const near = make("div", { id: "near" }, ...pairs(entry.nearest).map(([other, cosine]) => {
    const its = place.get(other), words = its === undefined ? "dead" : data.active[its].map(t => names[t].trim()).join(" ");
    const button = make("button", { type: "button", title: `Show feature ${other}` }, make("b", { textContent: other }),
      ` ${cosine.toFixed(2)} `, make("span", { className: "note token", textContent: words }));
    button.addEventListener("click", () => choose(other));
    return button;
  }));
  at("detail").replaceChildren(head, facts,
    make("div", { className: "panels" }, bars(pairs(entry.active), percent, v => v / Math.max(entry.active[1], 1e-9), "Active on"), histogram, ...logits),
    ...examples("Most active", "one place of a sequence; the peak is underlined", entry.top, data.max[i]),
    ...examples("Drawn at random", "from all sequences in which it is active", entry.drawn, data.max[i]),
    make("section", {}, make("h2", { textContent: "Nearest features" }),
      make("p", { className: "note", textContent: "Those that write in the most similar directions, and the cosine." }), near));
}

let waiting = 0;
at("query").addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(refresh, 120);
});
["scope", "sort", "which"].forEach(id => at(id).addEventListener("change", refresh));
at("list").addEventListener("scroll", () => requestAnimationFrame(draw));
window.addEventListener("resize", draw);
window.addEventListener("hashchange", () => choose(Number(location.hash.slice(1))));
const keys = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 };
at("list").addEventListener("keydown", event => {
  if (keys[event.key]) {
    event.preventDefault();
    step(keys[event.key]);
  }
});
at("query").addEventListener("keydown", event => {
  if (event.key === "ArrowDown" || event.key === "Enter") {
    event.preventDefault();
    at("list").focus();
    if (shown.length) choose(shown[0]);
  }
});
summary();
theme();
refresh().then(() => {
  const wanted = /^#(\d+)$/.exec(location.hash);
  if (wanted && Number(wanted[1]) < data.features) choose(Number(wanted[1]));
  else if (shown.length) choose(shown[0]);
});
