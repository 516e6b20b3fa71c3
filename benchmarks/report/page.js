"use strict";
// Draws the charts with plotly.js in the reader's look and width, and gives out the data that the page holds.
(() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 40rem)");
  const font = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif";
  const config = {
    displaylogo: false, displayModeBar: false, responsive: true, plotlyServerURL: "", topojsonURL: "", showLink: false,
  };
  const charts = [...document.querySelectorAll("[data-chart]")].map((figure) => ({
    figure, plot: figure.querySelector(".plot"),
    ...data.charts[figure.dataset.chart], shown: 0, hidden: new Set(),
  }));
  let printing = false;

  const theme = () => data.themes[dark.matches && !printing ? "dark" : "light"];

  // Names of colours become colours, at any depth.
  function paint(value, colours) {
    if (typeof value === "string") return colours[value] ?? value;
    if (Array.isArray(value)) return typeof value[0] === "number" ? value : value.map((one) => paint(one, colours));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, paint(one, colours)]));
    }
    return value;
  }

  function axis(own) {
    return {
      gridcolor: "@grid", linecolor: "@grid", zeroline: false, automargin: true, ticks: "", fixedrange: narrow.matches,
      ...own, title: { font: { size: narrow.matches ? 12 : 13, color: "@muted" }, standoff: 10, ...own?.title },
      tickfont: { size: narrow.matches ? 11 : 12, color: "@muted" },
    };
  }

  function layout(view) {
    const marks = data.untrained ? [{
      text: "UNTRAINED", showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.5, opacity: 0.3,
      font: { size: narrow.matches ? 28 : 48, color: "@muted" },
    }] : [];
    return {
      ...view.layout, annotations: marks, xaxis: axis(view.layout.xaxis), yaxis: axis(view.layout.yaxis),
      height: view.rows ? Math.max(220, 22 * view.rows + 80) : narrow.matches ? 320 : 430,
      margin: { l: 8, r: 12, t: 12, b: 8, pad: 4 }, showlegend: false, hovermode: "closest",
      dragmode: narrow.matches ? false : "zoom", paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: font, size: 13, color: "@ink" },
      hoverlabel: { bgcolor: "@paper", bordercolor: "@muted", align: "left", font: { color: "@ink", size: 13, family: font } },
    };
  }

  function draw(chart) {
    const view = chart.views[chart.shown];
    const traces = view.traces.map((trace) => ({ ...trace, visible: !chart.hidden.has(trace.legendgroup) }));
    return Plotly.react(chart.plot, paint(traces, theme()), paint(layout(view), theme()), config);
  }

  function swatch(trace) {
    const colour = (name) => paint(name, theme());
    const box = '<svg width="26" height="12" viewBox="0 0 26 12" aria-hidden="true">';
    if (trace.type === "bar") {
      const hatch = { "/": "M7 8 15 0M10 12 19 3", x: "M8 1 18 11M18 1 8 11", ".": "M10 3h.1M16 3h.1M10 9h.1M16 9h.1" };
      return `${box}<rect x="7" y="0" width="12" height="12" rx="2" fill="${colour(trace.marker.color)}"/>
        <path d="${hatch[trace.marker.pattern?.shape] ?? ""}" stroke="${colour("@paper")}" stroke-width="2"
        stroke-linecap="round"/></svg>`;
    }
    const dash = { dash: "6 3", dashdot: "6 3 2 3", dot: "2 3" }[trace.line?.dash] ?? "none";
    const line = trace.mode.includes("lines") ? `<path d="M0 6H26" stroke="${colour(trace.line.color)}" stroke-width="2"
      stroke-dasharray="${dash}"/>` : "";
    if (!trace.mode.includes("markers")) return `${box}${line}</svg>`;
    const shapes = {
      circle: '<circle cx="13" cy="6" r="3.6"', square: '<rect x="9.5" y="2.5" width="7" height="7"',
      diamond: '<path d="M13 1.5 17.5 6 13 10.5 8.5 6z"', "triangle-up": '<path d="M13 2 17 9.5H9z"',
      "circle-open": '<circle cx="13" cy="6" r="5" stroke-width="1.6"',
    };
    const open = trace.marker.symbol.endsWith("-open");
    const paints = `fill="${open ? "none" : colour(trace.marker.color)}" stroke="${colour(trace.marker.color)}"/>`;
    return `${box}${line}${shapes[trace.marker.symbol]} ${paints}</svg>`;
  }

  // A name hides or shows what it names; twice, it hides all others, or shows them again.
  function legend(chart) {
    const names = [...new Map(chart.views[chart.shown].traces.filter((one) => one.meta).map((one) => [one.legendgroup, one]))];
    const buttons = names.map(([group, trace]) => {
      const button = document.createElement("button");
      button.type = "button";
      button.innerHTML = swatch(trace);
      button.append(trace.meta.label);
      button.title = "Show or hide; double-click: only this";
      button.addEventListener("click", () => {
        if (!chart.hidden.delete(group)) chart.hidden.add(group);
        update();
      });
      button.addEventListener("dblclick", () => {
        const others = names.map(([name]) => name).filter((name) => name !== group);
        const alone = others.every((name) => chart.hidden.has(name));
        chart.hidden = new Set(alone ? [] : others);
        update();
      });
      return button;
    });
    const mark = () => names.forEach(([group], at) => buttons[at].setAttribute("aria-pressed", String(!chart.hidden.has(group))));
    const update = () => { mark(); draw(chart); };
    mark();
    return buttons;
  }

  // Few views are buttons side by side, many are a list to choose from.
  function choices(chart) {
    const name = document.createElement("span");
    name.textContent = chart.switch;
    const show = (number) => { chart.shown = number; refresh(chart); };
    if (chart.views.length > 3) {
      const select = document.createElement("select");
      select.setAttribute("aria-label", chart.switch);
      chart.views.forEach((view, number) => select.add(new Option(view.name, number, false, number === chart.shown)));
      select.addEventListener("change", () => show(Number(select.value)));
      return [name, select];
    }
    const group = document.createElement("span");
    group.className = "choices";
    chart.views.forEach((view, number) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = view.name;
      button.setAttribute("aria-pressed", String(number === chart.shown));
      button.addEventListener("click", () => {
        show(number);
        chart.figure.querySelectorAll(".choices button")[number].focus();
      });
      group.append(button);
    });
    return [name, group];
  }

  function refresh(chart) {
    chart.figure.querySelector(".switch").replaceChildren(...(chart.views.length > 1 ? choices(chart) : []));
    chart.figure.querySelector(".legend").replaceChildren(...legend(chart));
    return draw(chart);
  }

  const refreshAll = () => Promise.all(charts.map(refresh));
  dark.addEventListener("change", refreshAll);
  narrow.addEventListener("change", refreshAll);
  let closed = [];
  addEventListener("beforeprint", () => {
    printing = true;
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((one) => { one.open = true; });
    refreshAll();
  });
  addEventListener("afterprint", () => {
    printing = false;
    closed.forEach((one) => { one.open = false; });
    refreshAll();
  });

  function give(name, blob) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  async function download(name) {
    if (name in data.texts) return give(name, new Blob([data.texts[name]], { type: "text/csv" }));
    const holder = [...document.querySelectorAll("[data-packed]")].find((one) => one.dataset.packed === name);
    const packed = new Blob([Uint8Array.from(atob(holder.textContent), (letter) => letter.charCodeAt(0))]);
    if (!globalThis.DecompressionStream) return give(`${name}.gz`, packed); // older browsers: as it is
    const whole = await new Response(packed.stream().pipeThrough(new DecompressionStream("gzip"))).blob();
    return give(name, new Blob([whole], { type: "application/json" }));
  }

  for (const button of document.querySelectorAll("[data-download]")) {
    button.addEventListener("click", () => download(button.dataset.download));
  }
  refreshAll().then(() => { document.documentElement.dataset.drawn = charts.length; });
})();
