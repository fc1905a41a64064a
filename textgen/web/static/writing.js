// Lets the model write, and goes back to what was written.

import * as api from "./api.js";
import { measure, showPlain } from "./probabilities.js";
import { continuation } from "./requests.js";
import { following, showEnd } from "./scrolling.js";
import {
  announcer,
  editor,
  find,
  model,
  settings,
  shaded,
  snapshot,
  state,
  stop,
  tell,
  tellBusy,
  tellError,
} from "./state.js";
import { canRetry, choose, refresh } from "./view.js";
import { changed, keepSoon, keepTyped } from "./work.js";

// Continues the text, or stops.
export function goOn() {
  if (state.running) return stop();
  if (!state.server) return;
  keepTyped();
  const { nodes, current } = state.tree;
  const { text, ranges } = editor;
  const ended = nodes[current]?.finished === "stop" && !text.endsWith("\n");
  if (document.activeElement === find("text")) {
    find("text").setSelectionRange(text.length, text.length);
  }
  write({ parent: current, text, ranges, begun: model().lines && ended });
}

// Writes the last text of the model once more, with another seed.
export function another() {
  if (state.running) stop();
  if (!canRetry()) return;
  const { tree } = state;
  const { parent, text: written } = tree.nodes[tree.current];
  const kept = settings.get().seed;
  if (kept !== null) settings.set({ ...settings.get(), seed: kept + 1 });
  const text = parent === null ? "" : tree.text(parent);
  const ranges = parent === null ? [] : tree.nodes[parent].ranges;
  write({ parent, text, ranges, begun: model().lines && written.startsWith("\n") });
}

// Replaces a token, leaves out the rest, and goes on from there.
export function rewrite({ start }, alternative) {
  if (state.running || !state.server) return;
  keepTyped();
  const text = editor.text.slice(0, start) + alternative;
  const ranges = editor.ranges
    .filter(([first]) => first < start)
    .map(([first, last]) => [first, Math.min(last, start)]);
  const parent = state.tree.add(state.tree.current, "choice", text, ranges, snapshot());
  write({ parent, text, ranges, place: start });
}

// Generates after `text`, as a child of `parent`; with `begun`, on a new line. `place`
// is where an alternative was chosen.
async function write({ parent, text, ranges, begun = false, place = null }) {
  const own = new AbortController();
  const { tree } = state;
  state.measuring?.abort();
  state.running = own;
  state.lastSeed = settings.get().seed ?? crypto.getRandomValues(new Uint32Array(1))[0];
  const seed = state.lastSeed;
  editor.set(text, ranges);
  if (begun) editor.append("\n");
  const start = editor.text.length;
  showPlain(place ?? text.length);
  const number = tree.add(parent, "model", editor.text, editor.ranges, snapshot());
  Object.assign(tree.nodes[number], { seed });
  changed();
  if (place !== null) find("go").focus();
  showEnd(find("legends"));
  tell("Writing…");
  let failed = null;
  try {
    const { limits } = state.server;
    const asked = continuation(editor.text, model(), limits, seed, settings.get());
    const finished = await receive(number, asked, own);
    Object.assign(tree.nodes[number], { finished });
  } catch (error) {
    failed = error;
  }
  if (state.running === own) state.running = null;
  announcer.end();
  if (tree !== state.tree) return refresh();
  finish(number, { start, text, ranges, place, failed, own });
}

async function receive(number, asked, own) {
  const pieces = api.generate(asked, own.signal, tellBusy);
  for (;;) {
    const { done, value } = await pieces.next();
    if (own.signal.aborted) throw own.signal.reason;
    if (done) return value;
    if (find("status").textContent !== "Writing…") tell("Writing…");
    following(find("legends"), () => {
      editor.append(value);
      find("pending").append(value);
    });
    state.tree.change(number, editor.text, editor.ranges);
    announcer.feed(value);
    keepSoon();
  }
}

function finish(number, { start, text, ranges, place, failed, own }) {
  const { tree } = state;
  const isCurrent = tree.current === number;
  const { seed } = tree.nodes[number];
  const count = tree.text(number).length - start;
  if (count <= 0 && number === tree.nodes.length - 1) {
    if (isCurrent && editor.text.length === start) editor.set(text, ranges);
    dropLast();
  }
  keepSoon();
  refresh();
  if (!isCurrent || state.running) return;
  const words = `${count.toLocaleString("en")} character${count === 1 ? "" : "s"}`;
  if (own.signal.aborted) tell(`Stopped after ${words}.`);
  else if (failed) tellError(failed);
  else if (count > 0) tell(`Wrote ${words} with seed ${seed}.`);
  else tell("The model ends the text here. Write on, or press Continue again.");
  if (shaded()) measure(place ?? start, place !== null);
}

// Takes the last text, to which the model added nothing, out of the tree.
function dropLast() {
  const { tree } = state;
  const { parent, finished } = tree.nodes.pop();
  if (tree.current === tree.nodes.length) tree.current = parent;
  // A model of lines goes on with the next line.
  if (finished && parent !== null) Object.assign(tree.nodes[parent], { finished });
}

// Goes back to a text of the tree.
export function goTo(number) {
  stop();
  const { tree } = state;
  keepTyped();
  tree.current = number;
  const { model: name, settings: values, ranges, seed } = tree.nodes[number];
  choose(name);
  settings.set(values);
  state.lastSeed = seed ?? state.lastSeed;
  editor.set(tree.text(number), ranges);
  changed();
  showPlain();
  if (shaded()) measure();
  find("tree").querySelector(`[data-node="${number}"]`)?.focus({ preventScroll: true });
  tell("This text and its settings are back.");
}
