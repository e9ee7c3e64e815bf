"use strict";
/* The plot of accuracy against speed, at any point that was timed. */
(() => {
const {state, set, make, also, visit} = window.report;
const data = JSON.parse(document.getElementById("pareto-data")?.textContent || "null");
const stage = document.querySelector("#pareto .stage");
const original = stage?.innerHTML;
const caption = document.querySelector("#pareto figcaption"), behind = document.querySelector("#pareto + details");
const said = caption?.innerHTML;
const DEAD = "inf";  // an error that is not finite
const svg = (tag, attributes = {}, content = "") => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = content;
  return element;
};
const threads = v => v === "null" ? "threads as found" : v + (v === "1" ? " thread" : " threads");
const parts = ["dtype", "regime", "threads", "classes"];
const short = x => x >= 1e5 || x < 1e-3 ? x.toExponential(1) : String(Number(x.toPrecision(3)));
const ticks = (low, high) => {
  const found = [], wide = Math.log10(high / low) > 2;
  for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e++)
    for (const m of wide ? [1] : [1, 2, 5]) if (m * 10 ** e >= low && m * 10 ** e <= high) found.push(m * 10 ** e);
  return found;
};
const pareto = () => {
  if (!data || !stage) return;
  const wanted = (state.get("pareto") || "").split("/");
  if (behind) behind.hidden = wanted.length === 5;  // its numbers are of the first plot
  if (wanted.length < 5) {
    if (stage.innerHTML !== original) { stage.innerHTML = original; caption.innerHTML = said; }
    return;
  }
  const place = data.points.find(p => parts.every((k, i) => String(p[k]) === wanted[i]));
  if (!place) return;
  const worst = wanted[4] === "worst";
  const dots = Object.entries(place.at).map(([name, [x, low, high, flag, gate]]) => ({
    name, x, low, high, flag, y: worst ? data.errors[place.dtype][name] : gate,
    known: worst ? name in data.errors[place.dtype] : gate !== null})).filter(d => d.known && d.x > 0);
  if (!dots.length) { stage.replaceChildren(make("p", {}, "No implementation has both a time and an error here.")); return; }
  const W = 446, H = 295, L = 62, R = 75, T = 18, B = 38;
  const finite = dots.map(d => d.y).filter(y => y !== DEAD && y > 0);
  const dead = dots.some(d => d.y === DEAD);
  let [y0, y1] = [Math.min(0.5, ...finite) / 1.3, Math.max(1, ...finite) * 1.5];
  let [x0, x1] = [Math.min(...dots.map(d => d.low || d.x)) / 1.15, Math.max(...dots.map(d => d.high || d.x)) * 1.15];
  const top = dead ? T + 24 : T;
  const X = v => L + (W - L - R) * Math.log(v / x0) / Math.log(x1 / x0);
  const Y = v => v === DEAD ? T + 8 : H - B - (H - B - top) * Math.log(Math.max(v, y0) / y0) / Math.log(y1 / y0);
  const figure = svg("svg", {viewBox: `0 0 ${W} ${H}`, class: "fig", role: "img",
    "aria-label": `Accuracy against speed, ${wanted.join(", ")}: ` + dots.map(d => `${d.name} ${short(d.x)} ${place.unit}, ${d.y === DEAD ? "not finite" : short(d.y) + " ulp"}`).join("; ")});
  const line = (a, b, c, d, colour) => figure.append(svg("line", {x1: a, y1: b, x2: c, y2: d, style: `stroke:var(--${colour});stroke-width:.6`}));
  const label = (x, y, words, anchor, size = 9.5) => figure.append(svg("text", {x, y, "text-anchor": anchor, style: `font-size:${size}px;fill:var(--f-muted)`}, words));
  for (const t of ticks(x0, x1)) { line(X(t), T, X(t), H - B, "f-grid"); label(X(t), H - B + 13, short(t), "middle"); }
  for (const t of ticks(y0, y1)) { line(L, Y(t), W - R, Y(t), "f-grid"); label(L - 6, Y(t) + 3, short(t), "end"); }
  if (dead) label(L - 6, T + 11, "not finite", "end");
  label((L + W - R) / 2, H - 8, place.unit === "µs" ? "time of a call (µs), less is better" : "GB/s", "middle", 10);
  label(4, 10, `largest error (ulp), ${worst ? "worst of the run" : "on the timed rows"}`, "start", 10);
  const better = place.unit === "µs" ? (a, b) => a <= b : (a, b) => a >= b;
  const height = d => d.y === DEAD ? Infinity : d.y;
  const ranked = dots.filter(d => d.flag !== "x");
  const front = ranked.filter(d => !ranked.some(o => o !== d && better(o.x, d.x) && height(o) <= height(d) && (o.x !== d.x || height(o) !== height(d)))).sort((a, b) => a.x - b.x);
  for (let i = 1; i < front.length; i++) {
    const [a, b] = [front[i - 1], front[i]];
    const corner = place.unit === "µs" ? [X(b.x), Y(a.y)] : [X(a.x), Y(b.y)];
    line(X(a.x), Y(a.y), ...corner, "f-axis");
    line(...corner, X(b.x), Y(b.y), "f-axis");
  }
  let taken = [];
  for (const d of [...dots].sort((a, b) => Y(a.y) - Y(b.y))) {
    const g = svg("g", {class: "s on", "data-s": d.name, style: `--c:var(--${data.names[d.name]})`});
    g.append(svg("title", {}, `${d.name}: ${short(d.x)} ${place.unit}${d.low ? ` [${short(d.low)}, ${short(d.high)}]` : ""}, ${d.y === DEAD ? "not finite" : short(d.y) + " ulp"}${d.flag === "x" ? "; failed the accuracy gate" : d.flag ? "; undecided" : ""}`));
    if (d.low) g.append(svg("line", {x1: X(d.low), x2: X(d.high), y1: Y(d.y), y2: Y(d.y), style: "stroke:var(--c);stroke-width:3;opacity:.45"}));
    g.append(svg("circle", {cx: X(d.x), cy: Y(d.y), r: 4.5, tabindex: 0, style: d.flag === "x" ? "fill:none;stroke:var(--f-alert);stroke-width:1.5" : "fill:var(--c)"}));
    let y = Y(d.y) + 3;
    while (taken.some(([a, b]) => Math.abs(a - X(d.x)) < 80 && Math.abs(b - y) < 11)) y += 11;
    taken.push([X(d.x), y]);
    g.append(svg("text", {x: X(d.x) + 8, y, style: "font-size:10px"}, (d.flag === "~" ? "~" : "") + d.name));
    figure.append(g);
  }
  stage.replaceChildren(figure);
  const side = place.unit === "µs" ? "Left" : "Right";
  caption.replaceChildren(make("b", {}, "Accuracy against throughput. "), `${wanted.slice(0, 4).join(", ")} classes. ${side} and down is better; the grey steps join those that nobody beats in both. Bars: 95% intervals. A ring failed the accuracy gate.`);
};
if (data && stage && data.points.length) {
  const bar = make("div", {class: "choose"});
  const first = data.points[0], selects = {};
  const current = () => [...parts.map(k => selects[k].value), selects.error.value];
  const fill = () => parts.forEach((k, i) => {
    const fits = data.points.filter(p => parts.slice(0, i).every(j => String(p[j]) === selects[j].value));
    const values = [...new Set(fits.map(p => String(p[k])))], before = selects[k].value;
    selects[k].replaceChildren(...values.map(v => make("option", {value: v}, k === "classes" ? v + " classes" : k === "threads" ? threads(v) : v)));
    selects[k].value = values.includes(before) ? before : values[0];
  });
  for (const k of parts) { selects[k] = make("select", {"aria-label": k, onchange: () => { fill(); set("pareto", current().join("/")); }}); bar.append(selects[k]); }
  selects.error = make("select", {"aria-label": "error", onchange: () => set("pareto", current().join("/"))},
    make("option", {value: "worst"}, "worst error of the run"), make("option", {value: "timed"}, "error on the timed rows"));
  bar.append(selects.error);
  stage.before(bar);
  fill();
  const wanted = (state.get("pareto") || JSON.parse(document.getElementById("pareto").dataset.first || "[]").join("/")).split("/");
  parts.forEach((k, i) => { if ([...selects[k].options].some(o => o.value === wanted[i])) { selects[k].value = wanted[i]; fill(); } });
  if (wanted[4]) selects.error.value = wanted[4];
}
also.push(pareto);
visit();
})();
