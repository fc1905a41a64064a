// What was tried: texts with their settings, each with the text that it came from.

import { commonEnd, commonStart } from "./editor.js";

const KINDS = ["you", "model", "choice"];
const SHOWN = 48; // characters of a text in the list

function firstWords(text) {
  const words = text.trim().replace(/\s+/g, " ");
  if (words.length <= SHOWN) return words;
  return `${words.slice(0, SHOWN).replace(/ \S*$/, "")}…`;
}

export class Tree {
  constructor() {
    this.nodes = [];
    this.current = null; // number of a node
    this.version = 0; // of the texts
  }

  // Adds a text after another one (null: a new beginning); returns its number.
  //
  // kind says where the text comes from: "you", "model" or "choice"; state is the model
  // and the settings. A node holds only what differs from its parent.
  add(parent, kind, text, ranges, state) {
    this.nodes.push({ parent, kind, ...state });
    this.current = this.nodes.length - 1;
    this.change(this.current, text, ranges);
    return this.current;
  }

  change(number, text, ranges) {
    const node = this.nodes[number];
    const before = node.parent === null ? "" : this.text(node.parent);
    node.start = commonStart(before, text);
    node.end = commonEnd(before, text, node.start);
    node.text = text.slice(node.start, text.length - node.end);
    node.ranges = ranges.map((range) => [...range]);
    this.version++;
  }

  text(number) {
    const path = [];
    for (let each = number; each !== null; each = this.nodes[each].parent) {
      path.push(this.nodes[each]);
    }
    return path.reduceRight((before, node) => {
      const end = before.slice(before.length - node.end);
      return before.slice(0, node.start) + node.text + end;
    }, "");
  }

  // Throws if the data, of the browser's storage, is not that of a tree.
  static from({ nodes, current }) {
    nodes.forEach(({ parent, kind, text, ranges, start, end }, number) => {
      const isChild = parent === null || (Number.isInteger(parent) && parent < number);
      const counts = Number.isInteger(start) && Number.isInteger(end);
      const known = KINDS.includes(kind) && typeof text === "string";
      if (!isChild || !counts || !known || !Array.isArray(ranges)) {
        throw new Error("no tree");
      }
    });
    if (current !== null && !nodes[current]) throw new Error("no such text");
    return Object.assign(new Tree(), { nodes, current });
  }

  // Draws nested lists. A text that is the only one after its parent is not indented.
  draw(list) {
    list.replaceChildren();
    const children = new Map();
    this.nodes.forEach(({ parent }, number) => {
      children.set(parent, [...(children.get(parent) ?? []), number]);
    });
    const rest = (children.get(null) ?? []).map((number) => [number, list]);
    rest.reverse();
    while (rest.length) {
      const [number, place] = rest.pop();
      const item = this.item(number);
      place.append(item);
      const next = children.get(number) ?? [];
      if (next.length === 1) rest.push([next[0], place]);
      if (next.length < 2) continue;
      const nested = document.createElement("ol");
      item.append(nested);
      for (const each of next.toReversed()) {
        const branch = document.createElement("li");
        const inner = document.createElement("ol");
        branch.append(inner);
        nested.prepend(branch);
        rest.push([each, inner]);
      }
    }
  }

  item(number) {
    const { kind, model, settings, seed, text, start, end } = this.nodes[number];
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.node = number;
    if (number === this.current) button.setAttribute("aria-current", "true");
    const author = document.createElement("span");
    author.className = `author ${kind}`;
    author.append(kind);
    const words = document.createElement("span");
    words.className = "words";
    const before = start > 0 && kind !== "you" ? "…" : "";
    const without = end > 0 || start > 0 ? "(shorter)" : "(empty)";
    words.append(text.trim() ? before + firstWords(text) : without);
    button.append(author, " ", words);
    if (kind === "model") {
      const { temperature, top_p } = settings ?? {};
      const numbers = `temperature ${temperature}, top-p ${top_p}, seed ${seed}`;
      button.title = `${model}, ${numbers}`;
    }
    item.append(button);
    return item;
  }
}
