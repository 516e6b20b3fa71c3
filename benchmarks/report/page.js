"use strict";
// Draws the charts with plotly.js in the reader's look and width, and gives out the data that the page holds.
(() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)"), narrow = matchMedia("(max-width: 40rem)");
  const ratios = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50, 100];
  const config = { displayModeBar: false, responsive: true, plotlyServerURL: "", topojsonURL: "" };
  const charts = [...document.querySelectorAll("[data-chart]")].map((figure) => ({
    ...data.charts[figure.dataset.chart], shown: 0, hidden: new Set(), find: (name) => figure.querySelector(name),
  }));
  let printing = false, closed = [];

  // Names of colours become colours, at any depth.
  function paint(value) {
    const colours = data.themes[dark.matches && !printing ? "dark" : "light"];
    return JSON.parse(JSON.stringify(value), (_, one) => (typeof one === "string" && colours[one]) || one);
  }

  // plotly reads text as HTML; ours is none.
  function html(value) {
    if (typeof value !== "string") return value;
    return value.replace(/[&<>]/g, (letter) => `&#${letter.charCodeAt(0)};`).replaceAll("\n", "<br>");
  }

  // A mark in plotly's words; the trace that its name stands for comes last.
  function traces(view, { name, shape, look, dots }, visible) {
    const color = look.colour, at = view.rows.length ? "x" : "y", all = (what) => dots.map((dot) => html(dot[what]));
    const made = {
      visible, name: html(name), meta: { label: name }, x: all("x"), y: all("y"), hovertemplate: "%{text}<extra></extra>",
      text: dots.map(({ told: [head, ...more] }) => [`<b>${html(head)}</b>`, ...more.map(html)].join("<br>")),
    };
    if (shape === "front") {
      const bare = { type: "scatter", x: made.x, y: made.y, visible, hoverinfo: "skip" };
      const marker = { color, symbol: look.symbol, size: 15, line: { width: 1.6 } };
      const under = { ...bare, mode: "lines", line: { color: "@grid", width: 10 }, zorder: -1 };
      return [under, { ...bare, mode: "markers", name: made.name, meta: made.meta, marker }];
    }
    if (shape === "bar") {
      const pattern = { shape: look.hatch, fillmode: "overlay", fgcolor: "@paper" };
      const marker = { color, pattern, line: { color: "@paper", width: view.stacked ? 1 : 0 } };
      Object.assign(made, { type: "bar", orientation: at === "x" ? "h" : "v", textposition: "none", marker });
    } else {
      const mode = { line: "lines+markers", level: "lines", points: "markers" }[shape];
      const marker = { color, size: shape === "points" ? 10 : 7, symbol: look.symbol };
      Object.assign(made, { type: "scatter", mode, line: { color, width: 2, dash: look.dash }, marker });
    }
    if (dots.some((dot) => dot.low === null)) return [made];
    if (view.band && dots.length > 1) {
      const edge = { type: "scatter", mode: "lines", x: made.x, line: { width: 0 }, hoverinfo: "skip", visible };
      return [{ ...edge, y: all("low") }, { ...edge, y: all("high"), fill: "tonexty", fillcolor: `${color}-pale` }, made];
    }
    made[`error_${at}`] = {
      type: "data", symmetric: false, thickness: 1, width: 3,
      color: shape === "bar" ? "@ink" : shape === "points" ? color : `${color}-thin`,
      array: dots.map((dot) => Math.max(0, dot.high - dot[at])), // rounding may turn one over
      arrayminus: dots.map((dot) => Math.max(0, dot[at] - dot.low)),
    };
    return [made];
  }

  function layout(view) {
    const [small, large, huge] = narrow.matches ? [11, 12, 28] : [12, 13, 48];
    const font = { family: getComputedStyle(document.body).fontFamily, size: 13, color: "@ink" };
    const axis = (text, range, own) => ({
      gridcolor: "@grid", linecolor: "@grid", zeroline: false, automargin: true, ticks: "", fixedrange: narrow.matches,
      title: { text, font: { size: large, color: "@muted" }, standoff: 10 }, tickfont: { size: small, color: "@muted" },
      ...(range && { range }), ...own,
    });
    const bars = view.marks.flatMap((mark) => mark.dots).length, rows = view.rows.map(html), whole = { xref: "paper", yref: "paper" };
    const names = { type: "category", categoryorder: "array", categoryarray: rows, autorange: "reversed" };
    const powers = { type: "log", tickvals: ratios, ticktext: ratios.map(String) };
    const line = { type: "line", x0: 1, x1: 1, yref: "paper", y0: 0, y1: 1, line: { color: "@muted", width: 1.5, dash: "dot" } };
    const mark = { ...whole, text: "UNTRAINED", showarrow: false, opacity: 0.3, font: { size: huge, color: "@muted" } };
    return {
      xaxis: axis(view.x, view.x_range, view.ratios ? powers : view.stacked ? { type: "category" } : {}),
      yaxis: axis(view.y, view.y_range, rows.length ? names : view.band ? { rangemode: "tozero" } : {}),
      barmode: view.stacked ? "stack" : bars > rows.length ? "group" : "overlay", bargap: 0.3, font, showlegend: false,
      height: rows.length ? Math.max(220, 22 * Math.max(bars, 2 * rows.length) + 124) : narrow.matches ? 320 : 430,
      margin: { l: 8, r: 12, t: 12, b: 8, pad: 4 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      shapes: view.ratios ? [line] : [], annotations: view.untrained ? [{ ...mark, x: 0.5, y: 0.5 }] : [],
      hovermode: "closest", dragmode: narrow.matches ? false : "zoom",
      hoverlabel: { bgcolor: "@paper", bordercolor: "@muted", align: "left", font },
    };
  }

  function draw(chart) {
    const view = chart.views[chart.shown];
    const all = view.marks.flatMap((mark) => traces(view, mark, !chart.hidden.has(mark.name)));
    return Plotly.react(chart.find(".plot"), paint(all), paint(layout(view)), config);
  }

  function swatch({ shape, look }) {
    const path = (d, fill, line, dash) =>
      `<path d="${d}" fill="${paint(fill)}" stroke="${paint(line)}" stroke-width="2" stroke-dasharray="${dash ?? "none"}"/>`;
    const dash = { dash: "6 3", dashdot: "6 3 2 3", dot: "2 3" }[look.dash];
    const hatch = { "/": "M7 8 15 0M10 12 19 3", x: "M8 1 18 11M18 1 8 11", ".": "M10 3h1M16 3h1M10 9h1M16 9h1" }[look.hatch];
    const symbol = {
      circle: "M13 3.4a2.6 2.6 0 1 0 .01 0z", square: "M10.5 3.5h5v5h-5z", diamond: "M13 2.9 16.1 6 13 9.1 9.9 6z",
      "triangle-up": "M13 3.4 15.5 8.2H10.5z", "circle-open": "M13 1.5a4.5 4.5 0 1 0 .01 0z",
    }[look.symbol];
    const bar = shape === "bar" ? path("M8 1h10v10h-10z", look.colour, look.colour) + path(hatch ?? "", "none", "@paper") : "";
    const line = ["line", "level"].includes(shape) ? path("M0 6H26", "none", look.colour, dash) : "";
    const fill = look.symbol === "circle-open" ? "none" : look.colour;
    const point = ["line", "points", "front"].includes(shape) ? path(symbol, fill, look.colour) : "";
    return `<svg width="26" height="12" aria-hidden="true">${bar}${line}${point}</svg>`;
  }

  const press = (buttons, pressed) => buttons.forEach((one, at) => one.setAttribute("aria-pressed", pressed(at)));

  // A name hides or shows what it names; twice, it hides all others, or shows them again.
  function legend(chart) {
    const { marks } = chart.views[chart.shown], { hidden } = chart, box = chart.find(".legend");
    const at = ({ target }) => [...box.children].indexOf(target.closest("button"));
    const update = () => { press([...box.children], (number) => !hidden.has(marks[number].name)); return draw(chart); };
    const title = "Show or hide; double-click: only this";
    const named = (mark) => `<button type="button" title="${title}">${swatch(mark)}${html(mark.name)}</button>`;
    box.innerHTML = marks.map(named).join("");
    box.onclick = (event) => {
      const name = marks[at(event)]?.name;
      if (name !== undefined) hidden.delete(name) || hidden.add(name);
      update();
    };
    box.ondblclick = (event) => {
      if (at(event) < 0) return;
      const others = marks.filter((_, number) => number !== at(event)).map((mark) => mark.name);
      const alone = others.every((name) => hidden.has(name));
      marks.forEach((mark) => hidden.delete(mark.name));
      if (!alone) others.forEach((name) => hidden.add(name));
      update();
    };
    return update();
  }

  // Few views are buttons side by side, many are a list to choose from.
  function choices(chart) {
    const few = chart.views.length <= 3, box = chart.find(".switch"), names = chart.views.map(({ name }) => html(name));
    const made = names.map((name) => (few ? `<button type="button">${name}</button>` : `<option>${name}</option>`)).join("");
    const list = few ? `<span class="choices">${made}</span>` : `<select aria-label="${chart.switch}">${made}</select>`;
    if (names.length > 1) box.innerHTML = `<span>${chart.switch}</span>${list}`;
    const buttons = [...box.querySelectorAll("button")];
    const show = (number) => { chart.shown = number; press(buttons, (at) => at === number); return legend(chart); };
    buttons.forEach((one, at) => { one.onclick = () => show(at); });
    box.onchange = ({ target }) => show(target.selectedIndex);
    return show(0);
  }

  function print(begins) {
    printing = begins;
    if (begins) closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((one) => { one.open = begins; });
    charts.forEach(legend);
  }
  addEventListener("beforeprint", () => print(true));
  addEventListener("afterprint", () => print(false));
  [dark, narrow].forEach((one) => one.addEventListener("change", () => charts.forEach(legend)));

  function give(name, content) {
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(new Blob([content])), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  async function download(name) {
    if (name in data.texts) return give(name, data.texts[name]);
    const holder = document.querySelector(`[data-packed="${name}"]`);
    const packed = new Blob([Uint8Array.from(atob(holder.textContent), (letter) => letter.charCodeAt(0))]);
    if (!globalThis.DecompressionStream) return give(`${name}.gz`, packed); // older browsers: as it is
    return give(name, await new Response(packed.stream().pipeThrough(new DecompressionStream("gzip"))).blob());
  }

  document.querySelectorAll("[data-download]").forEach((one) => { one.onclick = () => download(one.dataset.download); });
  Promise.all(charts.map(choices)).then(() => { document.documentElement.dataset.drawn = charts.length; });
})();
