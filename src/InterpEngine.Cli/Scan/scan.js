const data = JSON.parse(document.getElementById("data").textContent);
const last = data.tokens.length - 1;
const tokenName = t => `${quoted(t.text)} (position ${t.position})`;

/** A row of the prompt's tokens, coloured by values; says what is under the pointer or focus. */
function strip(label, values, describe, idle = "", scale = Math.max(...values.map(Math.abs), 1e-9)) {
  const readout = make("p", { className: "readout", textContent: idle });
  readout.setAttribute("aria-live", "polite");
  const buttons = data.tokens.map((token, i) => {
    const button = make("button", { type: "button", textContent: chip(token.text) });
    const show = () => readout.textContent = describe(token, values[i], i);
    button.addEventListener("focus", show);
    button.addEventListener("pointerenter", show);
    heat(button, values[i] / scale);
    return button;
  });
  const row = make("div", { className: "strip" }, ...buttons);
  row.setAttribute("role", "group");
  row.setAttribute("aria-label", label);
  roving([buttons]);
  return { buttons, readout, nodes: [row, readout] };
}

function predictions(table, list) {
  table.replaceChildren(...list.map(p => barRow(quoted(p.text), p.probability, p.probability, percent(p.probability))));
}

// Header and summary ---------------------------------------------------------------------------------------------------------

const answer = quoted(data.answer.text);
const rival = data.against && quoted(data.against.text);
const heads = data.attribution.components.filter(c => c.sources);
const read = data.tokens.map((_, i) => heads.reduce((sum, head) => sum + head.sources[i], 0));

function header() {
  const m = data.model;
  at("source").textContent = `\u00b7 ${m.name}: ${m.family}, ${m.layers} layers \u00d7 ${m.heads} heads, width ${m.width}`;
  document.title = `${answer} \u00b7 interp scan`;
  at("title-answer").textContent = answer;
  if (data.against) {
    at("title-answer").after(" rather than ", make("span", { className: "token", textContent: rival }));
  }
  const prompt = strip("Prompt", read, (t, v) => `${tokenName(t)}: heads add ${signed(v)} because of what they read there`,
    "Each token is coloured by what heads add to the answer\u2019s logit because of what they read there.");
  at("prompt").append(...prompt.nodes);
  const best = read.indexOf(Math.max(...read));
  const readers = heads.filter(h => h.sources[best] > .05 * Math.max(read[best], 0))
    .sort((a, b) => b.sources[best] - a.sources[best]).slice(0, 5);
  let text = `${answer} has a probability of ${percent(data.answer.probability)}`;
  text += data.answer.rank > 1 ? ` (rank ${data.answer.rank}). ` : ". ";
  if (read[best] > .05 * Math.abs(data.attribution.sum) && readers.length) {
    const gain = `${signed(read[best])} to its ${rival ? `lead over ${rival}` : "logit"}`;
    text += `Heads read it most from ${tokenName(data.tokens[best])}: ${gain}, `
      + `foremost by ${readers.map(h => `${h.name} (${signed(h.sources[best])})`).join(", ")}.`;
  }
  if (data.length > data.tokens.length) text += ` Shown are the last ${data.tokens.length} of ${data.length} tokens.`;
  at("summary").textContent = text;
}

// Attribution ----------------------------------------------------------------------------------------------------------------

const shownAtFirst = 16;
let showAll = false;

function attribution() {
  const { components, logit, sum } = data.attribution;
  const base = data.against ? `less that of ${rival}` : "above the vocabulary\u2019s mean";
  at("sum").textContent = `The parts sum to ${sum.toFixed(4)}; `
    + `in the run, the logit of ${answer} ${base} is ${logit.toFixed(4)}. The final norm\u2019s scale is frozen.`;
  const strongest = [...components].sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
  const chosen = new Set(showAll ? strongest : strongest.slice(0, shownAtFirst));
  const listed = (at("order").value === "layers" ? components : strongest).filter(c => chosen.has(c));
  const high = Math.max(...components.map(c => c.value), 0), low = Math.min(...components.map(c => c.value), 0);
  const span = high - low || 1, zero = -low / span || 1e-9;
  const rows = listed.map(c => {
    let name = c.name;
    if (c.head !== null) {
      name = make("button", { type: "button", textContent: c.name, title: `Show the attention of ${c.name}` });
      name.addEventListener("click", () => {
        chooseHead(c.layer, c.head);
        at("h-attention").scrollIntoView();
      });
    }
    const source = c.attends ? `\u2190 ${quoted(c.attends.text)} ${c.attends.weight.toFixed(2)}` : "";
    return barRow(name, c.value, Math.abs(c.value) / span, signed(c.value), source, zero);
  });
  if (listed.length < components.length) {
    const rest = components.filter(c => !chosen.has(c)).reduce((total, c) => total + c.value, 0);
    rows.push(barRow(`${components.length - listed.length} others`, rest, 0, signed(rest), "", zero));
  }
  const total = make("tr", { className: "total" }, make("th", { scope: "row", textContent: "sum" }), make("td"),
    make("td", { className: "number", textContent: signed(sum) }), make("td"));
  at("parts").tBodies[0].replaceChildren(...rows, total);
  at("all-parts").hidden = components.length <= shownAtFirst;
  at("all-parts").textContent = showAll ? "Show the strongest" : `Show all ${components.length}`;
}

/** The parts added up: attention against MLPs and the rest. */
function totals() {
  const groups = [["embeddings", ["Embed", "PosEmbed"]], ["attention heads", ["Head"]], ["MLPs and experts", ["Mlp", "Experts"]],
    ["biases", ["AttentionBias", "MlpBias", "NormBias", "FinalNormBias", "UnembedBias"]]];
  const sums = groups.map(([name, kinds]) =>
    [name, data.attribution.components.filter(c => kinds.includes(c.kind)).reduce((sum, c) => sum + c.value, 0)]);
  const high = Math.max(...sums.map(s => s[1]), 0), low = Math.min(...sums.map(s => s[1]), 0), span = high - low || 1;
  at("totals").tBodies[0].replaceChildren(...sums.map(([name, value]) =>
    barRow(name, value, Math.abs(value) / span, signed(value), undefined, -low / span || 1e-9)));
}

// Logit lens -----------------------------------------------------------------------------------------------------------------

function lens() {
  const table = at("lens"), detail = at("lens-cell");
  const top = make("tr", {}, make("th"), ...data.tokens.map((t, i) =>
    make("th", { scope: "col", textContent: chip(t.text), title: tokenName(t), className: i === last ? "cell explained" : "cell" })));
  table.append(make("thead", {}, top));
  const body = make("tbody");
  let chosen = null;
  const show = (cell, layer, i) => {
    chosen?.classList.remove("chosen");
    chosen = cell;
    cell.classList.add("chosen");
    const list = make("table", { className: "bars" }, make("tbody"));
    predictions(list.tBodies[0], layer.top[i]);
    const own = layer.top[i].some(p => p.id === data.answer.id) ? [] :
      [make("p", { className: "note token", textContent: `${answer} here: ${percent(layer.answer[i])}` })];
    const title = `${layer.label}, after ${tokenName(data.tokens[i])}`;
    detail.replaceChildren(make("h3", { className: "token", textContent: title }), list, ...own);
  };
  const rows = [...data.lens].reverse().map(layer => {
    const cells = layer.top.map((list, i) => {
      const cell = make("td", { textContent: chip(list[0].text), className: list[0].id === data.answer.id ? "cell answer" : "cell" });
      cell.setAttribute("role", "gridcell");
      cell.setAttribute("aria-label",
        `${layer.label}, after ${quoted(data.tokens[i].text)}: ${quoted(list[0].text)} ${percent(list[0].probability)}`);
      heat(cell, list[0].probability);
      cell.addEventListener("focus", () => show(cell, layer, i));
      cell.addEventListener("pointerenter", () => show(cell, layer, i));
      return cell;
    });
    body.append(make("tr", {}, make("th", { scope: "row", textContent: layer.label, title: layer.point }), ...cells));
    return cells;
  });
  table.append(body);
  roving(rows, rows[0][last]);
  show(rows[0][last], data.lens[data.lens.length - 1], last);
  table.parentElement.scrollLeft = table.parentElement.scrollWidth;
}

// Attention ------------------------------------------------------------------------------------------------------------------

const patterns = data.attention.map(head => {
  const bytes = Uint8Array.from(atob(head.pattern), c => c.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return (query, key) => key > query ? 0 : view.getUint16(query * (query + 1) + 2 * key, true) / 65535;
});
const indexOf = (layer, head) => layer * data.model.heads + head;
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const strongest = heads.reduce((best, head, i) => head.value > heads[best].value ? i : best, 0);
let current = strongest, cell = [last, last];
const buttons = [];

function overview() {
  const n = data.tokens.length;
  const size = Math.max(24, Math.min(104, Math.floor(620 / data.model.heads) - 10));
  const grid = at("heads");
  grid.style.setProperty("--thumb", size + "px");
  const rows = [];
  for (let layer = 0; layer < data.model.layers; layer++) {
    const row = make("div");
    row.setAttribute("role", "row");
    const name = make("span", { textContent: "L" + layer });
    name.setAttribute("role", "rowheader");
    row.append(name);
    rows.push([]);
    for (let head = 0; head < data.model.heads; head++) {
      const index = indexOf(layer, head), part = heads[index];
      const value = make("span", { textContent: signed(part.value), className: part.value < 0 ? "minus" : "plus" });
      const button = make("button", { type: "button", title: part.name }, make("canvas", { width: n, height: n }), value);
      button.setAttribute("aria-label", `${part.name} adds ${signed(part.value)}, looks at ${quoted(part.attends.text)}`);
      button.addEventListener("click", () => chooseHead(layer, head));
      const box = make("div", {}, button);
      box.setAttribute("role", "gridcell");
      row.append(box);
      buttons[index] = button;
      rows[layer].push(button);
    }
    grid.append(row);
  }
  roving(rows, buttons[strongest]);
}

function thumbnails() {
  const n = data.tokens.length;
  const probe = make("canvas", { width: 1, height: 1 }).getContext("2d");
  probe.fillStyle = colour("--accent");
  probe.fillRect(0, 0, 1, 1);
  const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
  buttons.forEach((button, index) => {
    const context = button.firstChild.getContext("2d"), image = context.createImageData(n, n);
    for (let q = 0; q < n; q++) {
      for (let k = 0; k < n; k++) {
        image.data.set([r, g, b, k > q ? 0 : 18 + 237 * patterns[index](q, k)], 4 * (q * n + k));
      }
    }
    context.putImageData(image, 0, 0);
  });
}

function chooseHead(layer, head) {
  current = indexOf(layer, head);
  const part = heads[current];
  buttons.forEach((button, index) => button.setAttribute("aria-pressed", index === current));
  at("head-name").textContent = `${part.name} adds ${signed(part.value)} to ${answer}${rival ? ` over ${rival}` : ""}`;
  at("reads-title").textContent = `What ${part.name} adds, by the token that it reads from the last position`;
  at("reads").replaceChildren(...strip("Contribution by source", part.sources, (t, v) => `${tokenName(t)}: ${signed(v)}`,
    `Looks most at ${quoted(part.attends.text)}, ${part.attends.weight.toFixed(2)}.`).nodes);
  cell = [last, data.tokens.findIndex(t => t.position === part.attends.position)];
  looks();
  drawPattern();
}

function looks() {
  const pattern = patterns[current];
  const row = strip("Tokens of the prompt", data.tokens.map(() => 0), () => "");
  const show = query => {
    const seen = data.tokens.map((_, k) => k).slice(0, query + 1);
    const best = seen.sort((a, b) => pattern(query, b) - pattern(query, a)).slice(0, 3);
    row.buttons.forEach((button, key) => {
      heat(button, pattern(query, key));
      button.classList.toggle("chosen", key === query);
    });
    row.readout.textContent = `${tokenName(data.tokens[query])} looks at `
      + best.map(k => `${quoted(data.tokens[k].text)} ${pattern(query, k).toFixed(2)}`).join(", ");
  };
  row.buttons.forEach((button, i) => {
    button.addEventListener("focus", () => show(i));
    button.addEventListener("pointerenter", () => show(i));
  });
  show(last);
  at("looks").replaceChildren(...row.nodes);
}

function layout() {
  const n = data.tokens.length, room = at("pattern").parentElement.clientWidth;
  const labels = n <= 80;
  const margin = labels ? 92 : 8;
  const size = Math.max(labels ? 13 : 3, Math.min(30, Math.floor((Math.min(room, 720) - margin - 2) / n)));
  return { n, labels, margin, size, side: margin + n * size + 1 };
}

function drawPattern() {
  const canvas = at("pattern"), { n, labels, margin, size, side } = layout(), ratio = window.devicePixelRatio || 1;
  [canvas.width, canvas.height] = [side * ratio, side * ratio];
  [canvas.style.width, canvas.style.height] = [side + "px", side + "px"];
  const g = canvas.getContext("2d");
  g.scale(ratio, ratio);
  g.fillStyle = colour("--accent");
  for (let q = 0; q < n; q++) {
    for (let k = 0; k <= q; k++) {
      g.globalAlpha = .05 + .95 * patterns[current](q, k);
      g.fillRect(margin + k * size, margin + q * size, size - (size > 6 ? 1 : 0), size - (size > 6 ? 1 : 0));
    }
  }
  g.globalAlpha = 1;
  if (labels) {
    g.font = `${Math.min(12, size - 1)}px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace`;
    g.textBaseline = "middle";
    data.tokens.forEach((token, i) => {
      const text = [...chip(token.text)], name = text.length > 11 ? text.slice(0, 10).join("") + "\u2026" : text.join("");
      g.fillStyle = colour(i === cell[0] ? "--ink" : "--muted");
      g.textAlign = "right";
      g.fillText(name, margin - 6, margin + (i + .5) * size);
      g.save();
      g.fillStyle = colour(i === cell[1] ? "--ink" : "--muted");
      g.translate(margin + (i + .5) * size, margin - 6);
      g.rotate(-Math.PI / 2);
      g.textAlign = "left";
      g.fillText(name, 0, 0);
      g.restore();
    });
  }
  const [q, k] = cell;
  g.strokeStyle = colour("--ink");
  g.strokeRect(margin + k * size - .5, margin + q * size - .5, size, size);
  const text = `${tokenName(data.tokens[q])} looks at ${tokenName(data.tokens[k])}: ${patterns[current](q, k).toFixed(3)}`;
  at("pattern-cell").textContent = text;
  canvas.setAttribute("aria-label", `Attention of ${heads[current].name}; arrows move between cells`);
}

function patternEvents() {
  const canvas = at("pattern");
  canvas.addEventListener("pointermove", event => {
    const { n, margin, size } = layout();
    const k = Math.floor((event.offsetX - margin) / size), q = Math.floor((event.offsetY - margin) / size);
    if (k < 0 || q < 0 || q >= n || k > q || (q === cell[0] && k === cell[1])) return;
    cell = [q, k];
    drawPattern();
  });
  canvas.addEventListener("keydown", event => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!step) return;
    event.preventDefault();
    const q = Math.min(Math.max(cell[0] + step[0], 0), last);
    cell = [q, Math.min(Math.max(cell[1] + step[1], 0), q)];
    drawPattern();
  });
}

// Neurons --------------------------------------------------------------------------------------------------------------------

function neurons() {
  at("neurons").append(...data.neurons.map(neuron => {
    const name = `Layer ${neuron.layer}, neuron ${neuron.neuron}`;
    const peak = neuron.activations.reduce((best, v, i, all) => Math.abs(v) > Math.abs(all[best]) ? i : best, 0);
    const describe = (t, v) => `${tokenName(t)}: activation ${v.toFixed(3)}`;
    const idle = `Strongest at ${describe(data.tokens[peak], neuron.activations[peak])}`;
    const row = strip(`Activations of ${name}`, neuron.activations, describe, idle);
    const sign = neuron.value < 0 ? "minus-text" : "plus-text";
    const value = make("span", { className: sign, textContent: `adds ${signed(neuron.value)}` });
    return make("div", { className: "neuron" },
      make("p", {}, make("b", { textContent: `L${neuron.layer} neuron ${neuron.neuron}` }), " ", value,
        make("br"), make("span", { className: "note", textContent: `activation here ${neuron.activation.toFixed(2)}` })),
      make("div", {}, ...row.nodes));
  }));
}

// Features of sparse dictionaries ------------------------------------------------------------------------------------------------

function dictionary(d, number) {
  const known = new Map(d.known.map(feature => [feature.feature, feature]));
  const share = p => p === null ? "" : `${Number((p * 100).toPrecision(2))} % of tokens`;
  const list = make("tbody"), title = make("h3"), about = make("div");
  let chosen = null;
  const row = strip("Tokens of the prompt", d.active.map(() => 0), () => "");
  const raise = (name, tokens) => tokens && tokens.length ? make("p", { className: "note token", textContent:
    `${name} ${tokens.map(t => `${quoted(t.text)} ${signed(t.logit)}`).join("  ")}` }) : "";

  const color = () => {
    const values = d.tokens.map(list => list.find(f => f.feature === chosen)?.value ?? 0), most = Math.max(...values.map(Math.abs), 1e-9);
    row.buttons.forEach((button, i) => heat(button, values[i] / most));
  };
  const choose = feature => {
    chosen = feature;
    const f = known.get(feature);
    color();
    list.querySelectorAll("tr").forEach(tr => tr.classList.toggle("chosen", Number(tr.dataset.feature) === feature));
    about.replaceChildren(make("h3", { textContent: `Feature ${feature}` }),
      make("p", { className: "note", textContent: "The prompt is coloured by its activation. "
        + (f.density === null ? "" : `Active at ${share(f.density)}. `)
        + (f.adds ? `From the last position it adds ${signed(f.adds)} to ${answer}${rival ? ` over ${rival}` : ""}.` : "") }),
      raise("Raises", f.raises), raise("Lowers", f.lowers));
  };
  const show = i => {
    row.buttons.forEach((button, k) => button.classList.toggle("chosen", k === i));
    title.textContent = `${d.active[i]} ${d.active[i] === 1 ? "feature" : "features"} active at ${tokenName(data.tokens[i])}`;
    const most = Math.max(...d.tokens[i].map(f => Math.abs(f.value)), 1e-9);
    list.replaceChildren(...d.tokens[i].map(f => {
      const button = make("button", { type: "button", textContent: f.feature, title: "Colour the prompt by this feature" });
      button.addEventListener("click", () => choose(f.feature));
      const labels = (known.get(f.feature).raises ?? []).slice(0, 5).map(t => visible(t.text).trim()).join(" ");
      const element = barRow(button, f.value, Math.abs(f.value) / most, f.value.toFixed(2), labels, f.value < 0 ? 1 : 0);
      element.dataset.feature = f.feature;
      return element;
    }));
    if (d.tokens[i].length) choose(d.tokens[i].some(f => f.feature === chosen) ? chosen : d.tokens[i][0].feature);
  };
  row.buttons.forEach((button, i) => {
    button.addEventListener("focus", () => show(i));
    button.addEventListener("click", () => show(i));
  });
  const id = "h-dictionary-" + number;
  const section = make("section", { className: "card dictionary" },
    make("h2", { id, textContent: `Features of ${d.name} at ${d.point}` }),
    make("p", { className: "note", textContent: `${d.features.toLocaleString("en-US")} features; choose a token to see those active `
      + "there, and one of them to see where else it is." + (d.without_logits ? ` No logits: ${d.without_logits}.` : "") }),
    row.nodes[0], make("div", { className: "reading" }, make("div", {}, title, make("table", { className: "bars" }, list)), about));
  section.setAttribute("aria-labelledby", id);
  show(last);
  return section;
}

header();
predictions(at("next").tBodies[0], data.next);
attribution();
totals();
at("order").addEventListener("change", attribution);
at("all-parts").addEventListener("click", () => {
  showAll = !showAll;
  attribution();
});
lens();
overview();
patternEvents();
chooseHead(heads[strongest].layer, heads[strongest].head);
neurons();
at("dictionaries").append(...data.dictionaries.map(dictionary));
window.addEventListener("resize", drawPattern);
theme(() => {
  thumbnails();
  drawPattern();
});
