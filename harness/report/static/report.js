"use strict";
/* What a page can do beyond being read: choose implementations, filter, sort, point at a cell.
   All of it is kept in the address, behind the anchor: page.html#matrix?show=torch&sort=matrix.2 */
(() => {
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes))
    key.startsWith("on") ? element.addEventListener(key.slice(2), value) : element.setAttribute(key, value);
  element.append(...children);
  return element;
};
const kinds = {machine: "machine", operation: "operation", dtype: "format", regime: "regime", threads: "number of threads"};
const state = new Map();
const also = [];  // what else follows the state
let anchor = "";

const read = () => {
  const [name, rest] = location.hash.slice(1).split("?");
  anchor = decodeURIComponent(name);
  if (rest === undefined && state.size) { state.delete("at"); write(); return; }  // a link within the page
  state.clear();
  for (const [key, value] of new URLSearchParams(rest || "")) state.set(key, value);
};
const write = () => {
  const rest = new URLSearchParams([...state].filter(([, value]) => value)).toString();
  history.replaceState(null, "", "#" + encodeURIComponent(anchor) + (rest ? "?" + rest : ""));
  links();
};
const set = (key, value) => { value ? state.set(key, value) : state.delete(key); write(); apply(); };
/* What was chosen goes along to the other pages of the report. */
const links = () => {
  const kept = new URLSearchParams([...state].filter(([key]) => ["show", "only", ...Object.keys(kinds)].includes(key))).toString();
  for (const a of all("nav a, .findings a, tbody th a[href]")) {
    const [path, hash = ""] = a.getAttribute("href").split("#");
    const place = hash.split("?")[0];
    if (path) a.setAttribute("href", path + (kept || place ? "#" + place + (kept ? "?" + kept : "") : ""));
  }
};

/* Implementations: ticked ones have their colours; the others are grey, or away. */
const series = all(".fig .s");
const usual = new Map(series.map(s => [s, s.classList.contains("on")]));
const names = [...new Set([...series, ...all("tr[data-i]")].map(e => e.dataset.s ?? e.dataset.i))];
for (const row of all(".tablewrap tbody tr[id]"))
  row.cells[0].append(make("a", {class: "anchor", href: "#" + row.id, "aria-label": "address of this row"}, "#"));
const chosen = () => new Set((state.get("show") || "").split(",").filter(Boolean).map(decodeURIComponent));
const showSeries = () => {
  const shown = chosen(), only = state.has("only") && shown.size;
  for (const s of all(".fig .s")) {
    const on = shown.size ? shown.has(s.dataset.s) : usual.get(s) ?? true;
    s.classList.toggle("on", on);
    s.classList.toggle("off", Boolean(only && !on));
  }
  for (const box of all(".choose input[name=show]")) box.checked = shown.has(box.value);
};

/* Sections, tables and rows by what they are about. */
const about = all([...Object.keys(kinds), "i"].map(k => `main [data-${k}]`).join(", "));
const offered = new Map(Object.keys(kinds).map(k => [k, new Set(about.map(e => e.dataset[k]).filter(Boolean))]));
const showSections = () => {
  const shown = chosen(), only = state.has("only") && shown.size;
  for (const element of about) {
    const {i, ...of} = element.dataset;
    element.hidden = Boolean(only && i && !shown.has(i)) || Object.keys(kinds).some(k => offered.get(k)?.has(state.get(k)) && of[k] && of[k] !== state.get(k));
  }
  for (const select of all(".choose select[data-kind]")) select.value = state.get(select.dataset.kind) || "";
};

/* Sorting: by the number of a cell where it has one, else by its words; gaps last. */
const number = cell => {
  const given = cell?.dataset.v ?? text(cell).replace(/[\u202f\u2009]/g, "").replace("−", "-").replace(/^~/, "");
  return /^-?(\d+(\.\d+)?(e[-+]?\d+)?|Infinity)$/i.test(given) ? Number(given) : NaN;
};
const text = cell => (cell?.firstChild?.textContent || "").trim();
const cellAt = (row, column) => {
  let k = 0;
  for (const cell of row.cells) { k += cell.colSpan; if (k > column) return cell; }
};
const order = (table, column, down) => {
  const body = table.tBodies[0], keyed = [...body.rows].map((row, k) => {
    const cell = cellAt(row, column);
    return {row, k, gap: !cell || cell.classList.contains("missing"), value: number(cell), words: text(cell), v: cell?.dataset.v};
  });
  const head = table.tHead.rows[table.tHead.rows.length - 1].cells[column];
  const numeric = !head.classList.contains("t") || keyed.some(e => e.v !== undefined);
  keyed.sort((a, b) => a.gap - b.gap
    || (numeric ? (Number.isNaN(a.value) - Number.isNaN(b.value)) || (down ? -1 : 1) * (a.value - b.value || 0)
                : (down ? -1 : 1) * a.words.localeCompare(b.words)) || a.k - b.k);
  body.append(...keyed.map(e => e.row));
  for (const th of table.tHead.rows[table.tHead.rows.length - 1].cells) th.removeAttribute("aria-sort");
  table.tHead.rows[table.tHead.rows.length - 1].cells[column].setAttribute("aria-sort", down ? "descending" : "ascending");
};
const initial = new Map();
const sortTables = () => {
  const wanted = new Map((state.get("sort") || "").split(",").filter(Boolean).map(s => s.split(/\.(?=\d+d?$)/)));
  for (const [id, rowsThen] of initial) if (!wanted.has(id)) {
    const table = document.getElementById(id).querySelector("table");
    table.tBodies[0].append(...rowsThen);
    for (const th of table.tHead.rows[table.tHead.rows.length - 1].cells) th.removeAttribute("aria-sort");
    initial.delete(id);
  }
  for (const [id, how] of wanted) {
    const table = document.getElementById(id)?.querySelector("table");
    const column = parseInt(how, 10);
    if (!table || !(column < table.tHead.rows[table.tHead.rows.length - 1].cells.length)) continue;
    if (!initial.has(id)) initial.set(id, [...table.tBodies[0].rows]);
    order(table, column, how.endsWith("d"));
  }
};
for (const wrap of all(".tablewrap[id]")) {
  const table = wrap.querySelector("table");
  if (!table.tHead || table.tBodies[0].rows.length < 2) continue;
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  heads.forEach((th, column) => {
    const button = make("button", {type: "button", class: "sort", title: "sort by this column", onclick: () => {
      const cycle = th.classList.contains("t") ? ["", "d"] : ["d", ""];
      const now = {ascending: "", descending: "d"}[th.getAttribute("aria-sort")];
      const next = now === undefined ? cycle[0] : now === cycle[0] ? cycle[1] : undefined;
      const rest = (state.get("sort") || "").split(",").filter(s => s && !s.startsWith(wrap.id + "."));
      set("sort", [...rest, ...(next === undefined ? [] : [`${wrap.id}.${column}${next}`])].join(","));
    }});
    button.append(...th.childNodes);
    th.append(button);
  });
}

/* A cell: its address, and the command that measures it again. */
const quoted = name => /^[\w.+\/-]+$/.test(name) ? name : "'" + name.replaceAll("'", "'\\''") + "'";
const again = (command, name) => command.endsWith(` -i ${name}`) ? command : `${command} -i ${name}`;
const panel = make("aside", {class: "cell", hidden: "", "aria-live": "polite"});
document.body.append(panel);
const marked = [];
const copyable = (label, value) => make("p", {}, make("b", {}, label), " ", make("code", {}, value), " ",
  make("button", {type: "button", onclick: event => {
    navigator.clipboard?.writeText(value).then(() => { event.target.textContent = "copied"; });
  }}, "copy"));
const point = () => {
  while (marked.length) marked.pop().classList.remove("marked");
  panel.hidden = true;
  panel.replaceChildren();
  const cut = (state.get("at") || "").lastIndexOf("~");
  if (cut < 0) return;
  const row = document.getElementById(state.get("at").slice(0, cut)), column = Number(state.get("at").slice(cut + 1));
  const cell = row && cellAt(row, column), table = row?.closest("table");
  if (!cell) return;
  const head = table.tHead.rows[table.tHead.rows.length - 1].cells[column];
  marked.push(cell);
  cell.classList.add("marked");
  const note = cell.querySelector("sup a");
  panel.append(make("p", {}, make("b", {}, `${text(row.cells[0])}, ${head.innerText.replace(/\s+/g, " ")}: `), cell.innerText.replace(/\s+/g, " ")));
  if (note) panel.append(make("p", {}, document.getElementById(note.getAttribute("href").slice(1)).textContent));
  if (table.dataset.repeat && row.dataset.i)
    panel.append(copyable("Again:", again([table.dataset.repeat, head.dataset.repeat].filter(Boolean).join(" "), quoted(row.dataset.i))));
  panel.append(copyable("Address:", location.href), make("button", {type: "button", class: "close", onclick: () => set("at", "")}, "close"));
  panel.hidden = false;
};
const open = cell => {
  let column = 0;
  for (let c = cell.previousElementSibling; c; c = c.previousElementSibling) column += c.colSpan;
  anchor = cell.closest(".tablewrap").id;
  set("at", `${cell.parentElement.id}~${column}`);
};
const cellOf = event => event.target.closest("a, button") ? null : event.target.closest(".tablewrap tbody tr[id] td");
document.addEventListener("click", event => { const cell = cellOf(event); if (cell) open(cell); });
/* One cell of each table can be reached with Tab, the others from it with the arrows. */
for (const table of all(".tablewrap table")) table.tBodies[0].querySelector("td")?.setAttribute("tabindex", "0");
document.addEventListener("keydown", event => {
  if (event.key === "Escape" && !panel.hidden) { set("at", ""); return; }
  const cell = cellOf(event);
  if (!cell) return;
  const row = cell.parentElement, place = [...row.cells].indexOf(cell);
  const next = {ArrowLeft: cell.previousElementSibling, ArrowRight: cell.nextElementSibling,
    ArrowUp: row.previousElementSibling?.cells[place], ArrowDown: row.nextElementSibling?.cells[place]}[event.key];
  if (event.key === "Enter") open(cell);
  else if (next?.tagName === "TD") { cell.removeAttribute("tabindex"); next.setAttribute("tabindex", "0"); next.focus(); }
  else return;
  event.preventDefault();
});

/* The bar of choices, below the header. */
const bar = document.getElementById("choose");
if (bar) {
  if (names.length > 1) {
    const boxes = names.sort().map(name => make("label", {}, make("input", {type: "checkbox", name: "show", value: name, onchange: () => {
      const shown = chosen();
      shown.has(name) ? shown.delete(name) : shown.add(name);
      set("show", [...shown].map(encodeURIComponent).join(","));
    }}), " " + name));
    const only = make("label", {}, make("input", {type: "checkbox", name: "only", onchange: event => set("only", event.target.checked ? "1" : "")}), " hide the others");
    bar.append(make("details", {}, make("summary", {}, "Choose implementations"), make("div", {class: "boxes"}, ...boxes, only,
      make("button", {type: "button", onclick: () => { state.delete("only"); set("show", ""); }}, "as at first"))));
  }
  for (const [kind, words] of Object.entries(kinds)) {
    const values = [...offered.get(kind)];
    if (values.length > 1)
      bar.append(make("select", {"data-kind": kind, "aria-label": kind, onchange: event => set(kind, event.target.value)},
        make("option", {value: ""}, `every ${words}`),
        ...values.map(v => make("option", {value: v}, kind === "threads" ? `${v} thread${v === "1" ? "" : "s"}` : v))));
  }
  bar.hidden = !bar.children.length;
}
const apply = () => {
  for (const follow of also) follow();
  showSeries(); showSections(); sortTables(); point();
  for (const box of all(".choose input[name=only]")) box.checked = state.has("only");
};
const visit = () => {
  read(); apply(); links();
  const target = anchor && document.getElementById(anchor);
  if (target) {
    for (let e = target.parentElement; e; e = e.parentElement) if (e.tagName === "DETAILS") e.open = true;
    if (location.hash.includes("?")) (marked[0] || target).scrollIntoView({block: marked[0] ? "center" : "start"});
  }
};
addEventListener("hashchange", visit);
window.report = {state, set, make, also, read, visit};
visit();
})();
