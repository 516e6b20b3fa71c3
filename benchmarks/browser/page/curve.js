// The two curves over tau, one above the other, and the point where the reader's finger is.

const SVG = "http://www.w3.org/2000/svg";
const LEAST_WIDTH = 240;
const PANEL = 130;
const LEFT = 64;
const RIGHT = 16;
const GAP = 40;
const TOP = 24;

/** A picture of operating points; `at` moves its mark. */
export class Curve {
  /**
   * @param svg    the element to draw in
   * @param points operating points of one max_experts, by tau
   * @param words  see words.js
   */
  constructor(svg, points, words) {
    this.points = points;
    this.width = Math.max(LEAST_WIDTH, svg.getBoundingClientRect().width); // so that text keeps its size on a phone
    const x = (tau) => this.#x(tau);
    const right = this.width - RIGHT;
    const panels = [{ title: "axis_macs", value: (one) => one.mean_macs / 1e6, text: (v) => words.number(v, 1) }];
    if (points.every((one) => one.accuracy !== null))
      panels.push({ title: "axis_accuracy", value: (one) => one.accuracy, text: (v) => words.percent(v, 1) });
    svg.replaceChildren();
    this.marks = panels.map((panel, i) => this.#draw(svg, panel, TOP + i * (PANEL + GAP), words));
    const bottom = TOP + panels.length * (PANEL + GAP) - GAP;
    this.line = add(svg, "line", { class: "at", y1: TOP, y2: bottom });
    for (const tau of [0, 0.25, 0.5, 0.75, 1])
      add(svg, "text", { class: "tick", x: x(tau), y: bottom + 18, "text-anchor": "middle" }, words.number(tau, tau % 1 ? 2 : 0));
    add(svg, "text", { class: "axis", x: right, y: bottom + 34, "text-anchor": "end" }, words.say("axis_tau"));
    svg.setAttribute("viewBox", `0 0 ${this.width} ${bottom + 40}`);
  }

  #x(tau) {
    return LEFT + tau * (this.width - LEFT - RIGHT);
  }

  #draw(svg, { title, value, text }, top, words) {
    const values = this.points.map(value);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const y = (v) => (high > low ? top + PANEL - ((v - low) / (high - low)) * PANEL : top + PANEL / 2);
    add(svg, "text", { class: "axis", x: this.width - RIGHT, y: top - 8, "text-anchor": "end" }, words.say(title));
    for (const v of high > low ? [low, high] : [low]) {
      add(svg, "line", { class: "grid", x1: LEFT, x2: this.width - RIGHT, y1: y(v), y2: y(v) });
      add(svg, "text", { class: "tick", x: LEFT - 8, y: y(v) + 5, "text-anchor": "end" }, text(v));
    }
    const path = this.points.map((one, i) => `${this.#x(one.tau)},${y(values[i])}`).join(" ");
    add(svg, "polyline", { class: "line", points: path });
    this.points.forEach((one, i) => add(svg, "circle", { class: "dot", cx: this.#x(one.tau), cy: y(values[i]), r: 3 }));
    return { mark: add(svg, "circle", { class: "mark", r: 8 }), value, y };
  }

  /** Move the marks to tau: between operating points on the line. */
  at(tau) {
    const after = Math.max(1, this.points.findIndex((one) => one.tau >= tau));
    const [a, b] = [this.points[after - 1], this.points[after] ?? this.points[after - 1]];
    const share = b.tau > a.tau ? Math.min(1, Math.max(0, (tau - a.tau) / (b.tau - a.tau))) : 0;
    for (const { mark, value, y } of this.marks) {
      mark.setAttribute("cx", this.#x(tau));
      mark.setAttribute("cy", y(value(a) + share * (value(b) - value(a))));
    }
    this.line.setAttribute("x1", this.#x(tau));
    this.line.setAttribute("x2", this.#x(tau));
    return share < 0.5 ? a : b; // the operating point that is nearest: what was measured
  }
}

function add(parent, name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}
