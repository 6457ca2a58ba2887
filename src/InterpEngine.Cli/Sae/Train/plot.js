const data = JSON.parse(at("data").textContent);
const show = x => x === 0 ? "0" : Math.abs(x) >= 1000 ? Math.round(x).toLocaleString("en-US") : Number(x.toPrecision(4)).toString();
const width = 460, height = 190, left = 52, right = 10, top_ = 8, bottom = 22;

function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
  element.append(...children);
  return element;
}

/** A round number of about this size. */
function round(x) {
  const power = 10 ** Math.floor(Math.log10(x)), share = x / power;
  return (share >= 5 ? 5 : share >= 2 ? 2 : 1) * power;
}

/** Where lines and labels stand: powers of ten, or equal steps. */
function ticks(least, most, logarithmic) {
  if (logarithmic) {
    const all = [];
    for (let e = Math.floor(least); e <= most; e++) {
      [1, 2, 5].forEach(m => { if (Math.log10(m) + e >= least && Math.log10(m) + e <= most) all.push(Math.log10(m) + e); });
    }
    return all.length > 6 ? all.filter(t => Number.isInteger(t)) : all;
  }
  const step = round((most - least) / 4 || 1), all = [];
  for (let t = Math.ceil(least / step) * step; t <= most + step * 1e-6; t += step) all.push(t);
  return all;
}

const color = i => data.runs.length === 1 ? "var(--accent)" : `hsl(${Math.round(i * 360 / data.runs.length + 215) % 360} 62% 52%)`;

function plot(title, key, logarithmic = false) {
  const runs = data.runs.map(run => run.points.filter(p => !logarithmic || p[key] > 0));
  const value = p => logarithmic ? Math.log10(p[key]) : p[key];
  // The first steps would flatten all the others.
  const settled = runs.flatMap(points => points.slice(Math.floor(points.length / 20)).map(value));
  let least = Math.min(...settled), most = Math.max(...settled);
  const pad = (most - least || Math.abs(most) || 20) * .06;
  [least, most] = [logarithmic || least < 0 || least > pad ? least - pad : 0, most + pad];
  const x = p => left + (width - left - right) * p.step / data.steps;
  const y = v => top_ + (height - top_ - bottom) * (1 - (Math.min(Math.max(v, least), most) - least) / (most - least));
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  ticks(least, most, logarithmic).forEach(t => drawing.append(
    svg("line", { class: "grid", x1: left, x2: width - right, y1: y(t), y2: y(t) }),
    svg("text", { x: left - 6, y: y(t) + 4, "text-anchor": "end" }, show(logarithmic ? 10 ** t : t))));
  ticks(0, data.steps, false).forEach(t => drawing.append(
    svg("text", { x: x({ step: t }), y: height - 6, "text-anchor": t === 0 ? "start" : "middle" }, show(t))));
  runs.forEach((points, i) => {
    const line = points.map(p => `${x(p).toFixed(1)},${y(value(p)).toFixed(1)}`).join(" ");
    drawing.append(svg("polyline", { class: "curve", points: line, style: `stroke: ${color(i)}` }));
    const now = points[points.length - 1];
    if (now) drawing.append(svg("circle", { cx: x(now), cy: y(value(now)), r: 3, style: `fill: ${color(i)}` }));
  });
  const latest = make("span", {}, ...runs.map((points, i) => {
    const mark = make("b", { textContent: points.length ? show(points[points.length - 1][key]) : "" });
    mark.style.color = data.runs.length > 1 ? color(i) : "";
    return mark;
  }));
  return make("section", { className: "card" }, make("h2", {}, title, latest), drawing);
}

const first = data.runs[0].points, now = first[first.length - 1];
document.title = `${now ? Math.floor(now.step / data.steps * 100) : 0} % \u00b7 ${data.title}`;
at("source").textContent = `\u00b7 ${data.title}`;
at("now").textContent = now ? `Step ${show(now.step)} of ${show(data.steps)}${data.running ? "" : ", ended"}` : "Begins";
at("progress").firstElementChild.style.width = (now ? now.step / data.steps * 100 : 0) + "%";
if (data.runs.length > 1) at("names").append(...data.runs.map((run, i) => {
  const name = make("b", { textContent: run.name });
  name.style.color = color(i);
  return name;
}));
at("charts").append(plot("Loss", "loss", true), plot("Explained variance", "explained"), plot("Active features of a row (L0)", "l0"),
  plot("Dead features", "dead"), plot("Learning rate", "rate"), plot("Rows a second", "rows_per_second"));
theme();
if (data.running) setTimeout(() => location.reload(), 2000);
