// What both pages are made of. Texts are set as texts, never as markup.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const main = document.querySelector("main");
const kMostRows = 300;

function element(name, attributes, ...children) {
  const svg = ["svg", "g", "line", "rect", "circle", "polyline", "text", "title"].includes(name);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name)
                   : document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function section(title, ...children) {
  main.append(element("section", {}, element("h2", {}, title), ...children));
}

function card(title, value, good, below) {
  const mark = good === undefined ? "" : good ? "good" : "bad";
  return element("div", {class: "card"}, element("span", {class: "faint"}, title),
                 element("b", {class: mark}, value), below ? element("span", {}, below) : null);
}

// rows: lists of texts and numbers. The first column holds names.
function table(head, rows, most = kMostRows) {
  const kind = (value, column) => (column === 0 ? "name" : typeof value === "string" && !/^\d/.test(value) ? "text" : "");
  const cell = (value, column) => element("td", {class: kind(value, column)},
                                          typeof value === "string" ? value : number(value));
  const kinds = head.map((text, column) => (rows.some((row) => kind(row[column], column) === "text") ? "text" : ""));
  const titles = element("tr", {}, ...head.map((text, column) => element("th", {class: kinds[column]}, text)));
  const body = rows.slice(0, most).map((row) => element("tr", {}, ...row.map(cell)));
  const made = element("div", {class: "wide"}, element("table", {}, element("thead", {}, titles), element("tbody", {}, ...body)));
  if (rows.length > most) made.append(element("p", {class: "faint"}, `and ${rows.length - most} more, in the report`));
  return made;
}

// JSON has null for a number that is not finite.
function number(value) {
  if (value === null || value === undefined) return "not finite";
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return Math.abs(value) >= 0.001 && Math.abs(value) < 1e5 ? String(+value.toPrecision(4)) : value.toExponential(2);
}

function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

// Horizontal bars: rows of {name, value, whole, text, bad}; whole: the length of the grey bar behind.
function bars(rows) {
  const largest = Math.max(1, ...rows.map((row) => row.whole || row.value));
  const height = 20 * rows.length + 4;
  const drawing = element("svg", {viewBox: `0 0 800 ${height}`, role: "img"});
  rows.forEach((row, i) => {
    const y = 20 * i + 3;
    const width = (value) => Math.max(value > 0 ? 1 : 0, 430 * value / largest);
    drawing.append(element("text", {x: 228, y: y + 12, "text-anchor": "end"}, row.name));
    if (row.whole) drawing.append(element("rect", {class: "rest", x: 235, y, width: width(row.whole), height: 15}));
    drawing.append(element("rect", {class: row.bad ? "bar bad" : "bar", x: 235, y, width: width(row.value), height: 15},
                           element("title", {}, `${row.name}: ${row.text}`)));
    drawing.append(element("text", {x: 240 + width(row.whole || row.value), y: y + 12}, row.text));
  });
  return element("div", {class: "wide"}, drawing);
}
