"use strict";
// Colours a text by one number for each token. Both pages use it.
// Texts of the data are only ever set as textContent.

const data = JSON.parse(document.getElementById("data").textContent);
const element = (id) => document.getElementById(id);
const dark = matchMedia("(prefers-color-scheme: dark)");
const BARS = 41;

// Blue for negative numbers, orange for positive ones; the text stays readable on both.
function colour(share) {
  const ends = dark.matches
    ? [[28, 96, 176], [168, 80, 0]] : [[96, 165, 235], [246, 150, 62]];
  const [red, green, blue] = ends[share > 0 ? 1 : 0];
  return `rgb(${red} ${green} ${blue} / ${Math.min(1, Math.abs(share)).toFixed(3)})`;
}

function signed(value, digits) {
  const text = Math.abs(value).toFixed(digits);
  return (value < 0 ? "−" : "+") + text;
}

function make(name, text, properties) {
  const made = Object.assign(document.createElement(name), properties);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Control characters, and characters that would change the direction of others.
const HIDDEN = new RegExp("[\\0-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f" +
  "\\u2028-\\u202e\\u2066-\\u2069\\ufeff]", "g");

function visible(text) {
  return text.replace(HIDDEN, (each) =>
    "\\u" + each.charCodeAt(0).toString(16).padStart(4, "0"));
}

function named(token) {
  const names = { " ": "space", "\n": "newline", "\t": "tab", "": "part of a character" };
  return names[token] ?? `“${visible(token)}”`;
}

// `describe(place, value)` returns what is known about a token.
class ColouredText {
  constructor(box, tokens, describe) {
    this.box = box;
    this.tokens = tokens;
    this.describe = describe;
    this.marked = 0;
    const all = document.createDocumentFragment();
    this.spans = tokens.map((token) => {
      const span = make("span", visible(token));
      if (token === "\n") span.className = "newline";
      all.append(span);
      return span;
    });
    this.places = new Map(this.spans.map((span, place) => [span, place]));
    box.append(all);
    // Not `pointerover`: it also comes when the text moves below the pointer.
    for (const name of ["pointermove", "pointerdown"]) {
      box.addEventListener(name, (event) => {
        const place = this.places.get(event.target);
        if (place !== undefined && place !== this.marked) this.mark(place);
      });
    }
    box.addEventListener("keydown", (event) => this.key(event));
    dark.addEventListener("change", () => this.paint(this.channel));
  }

  // A channel has `values` (NaN: not known), `limit` (full colour), `signed`, `unit`.
  paint(channel) {
    this.channel = channel;
    const { values, limit } = channel;
    const shades = new Map();
    for (let place = 0; place < this.spans.length; place++) {
      const share = Math.round((values[place] / limit) * 200) / 200 || 0;
      if (!shades.has(share)) shades.set(share, share ? colour(share) : "");
      this.spans[place].style.backgroundColor = shades.get(share);
    }
    this.drawLegend();
    this.report();
  }

  drawLegend() {
    const { values, limit, signed: both, unit, digits } = this.channel;
    const counts = new Array(BARS).fill(0);
    const low = both ? -limit : 0;
    for (const value of values) {
      if (Number.isNaN(value)) continue;
      const bin = Math.floor(((value - low) / (limit - low)) * BARS);
      counts[Math.max(0, Math.min(BARS - 1, bin))] += 1;
    }
    // Roots: a few tokens are visible beside many.
    const most = Math.sqrt(Math.max(1, ...counts));
    const middle = (bin) => low + ((bin + 0.5) / BARS) * (limit - low);
    element("bars").replaceChildren(...counts.map((count, bin) => {
      const bar = make("i");
      bar.style.height = `${(100 * Math.sqrt(count)) / most}%`;
      bar.style.backgroundColor = count ? colour(middle(bin) / limit || 0.02) : "";
      return bar;
    }));
    const stops = [both ? colour(-1) : "transparent", "transparent", colour(1)];
    if (!both) stops.shift();
    element("colours").style.background = `linear-gradient(to right, ${stops})`;
    const ends = both
      ? [signed(-limit, digits), "0", signed(limit, digits)]
      : ["0", `${limit.toFixed(digits)} ${unit}`.trim()];
    element("ends").replaceChildren(...ends.map((each) => make("span", each)));
  }

  mark(place, scroll = false) {
    this.spans[this.marked].classList.remove("marked");
    this.marked = Math.max(0, Math.min(this.spans.length - 1, place));
    this.spans[this.marked].classList.add("marked");
    if (scroll) this.spans[this.marked].scrollIntoView({ block: "center" });
    this.report();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const steps = { ArrowLeft: -1, ArrowRight: 1 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    this.mark(this.marked + steps[event.key]);
    this.spans[this.marked].scrollIntoView({ block: "nearest" });
  }

  report() {
    const place = this.marked;
    const token = this.tokens[place];
    element("point").textContent =
      `${named(token)}: ${this.describe(place, this.channel.values[place])}`;
  }
}
