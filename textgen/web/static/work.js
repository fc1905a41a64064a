// Keeps the work in the browser, and puts it into links.

import * as link from "./link.js";
import { editor, settings, snapshot, state, stop, tell } from "./state.js";
import * as storage from "./storage.js";
import { Tree } from "./tree.js";
import { choose, refresh } from "./view.js";

const PAUSE = 300; // milliseconds between a change and its storage

let timer = null;

// To be called after each change of text or settings.
export function changed() {
  const { hash, pathname, search } = location;
  if (hash) history.replaceState(null, "", pathname + search);
  refresh();
  keepSoon();
}

export function keepSoon() {
  timer ??= setTimeout(keep, PAUSE);
}

export function keep() {
  clearTimeout(timer);
  timer = null;
  const { nodes, current } = state.tree;
  const { text, ranges } = editor;
  const { lastSeed } = state;
  const kept = storage.keep({ nodes, current, text, ranges, lastSeed, ...snapshot() });
  if (!kept) tell("The browser cannot keep more. Save the text, or forget all.", true);
}

// Returns whether what was kept, if anything, is intact.
export function restore() {
  const work = storage.load();
  if (!work) return true;
  try {
    state.tree = Tree.from(work);
    take(work);
    return true;
  } catch {
    return false;
  }
}

// Shows a text and its settings, of the storage or of a link; returns whether its model
// is known.
function take(work) {
  const { text, ranges, lastSeed } = work;
  if (typeof text !== "string") throw new Error("no text");
  const known = choose(work.model);
  settings.set(work.settings);
  editor.set(text, checked(ranges, text));
  state.lastSeed = Number.isSafeInteger(lastSeed) ? lastSeed : null;
  return known;
}

function checked(ranges, text) {
  let before = -1;
  const valid = (range) => {
    const [start, end] = Array.isArray(range) ? range : [];
    const fits = Number.isInteger(start) && before < start && start < end;
    before = end;
    return fits && Number.isInteger(end) && end <= text.length;
  };
  return Array.isArray(ranges) && ranges.every(valid) ? ranges : [];
}

// Adds what the person typed since the last text to the tree.
export function keepTyped() {
  const { text, ranges } = editor;
  const { tree } = state;
  const { current } = tree;
  if (current === null ? !text : tree.text(current) === text) return;
  tree.add(current, "you", text, ranges, snapshot());
}

// Shows the text of a link, if the address has one; returns whether it has.
export async function openLink() {
  if (!location.hash) return false;
  try {
    const work = await link.decode(location.hash);
    stop();
    const isNew = work.text !== editor.text;
    if (isNew) keepTyped();
    const known = take(work);
    if (isNew) state.tree.add(null, "you", editor.text, editor.ranges, snapshot());
    if (known) tell("Text and settings of the link are restored.");
    else tell(`This server has no model ${work.model}: another one is chosen.`, true);
  } catch {
    tell("This link is damaged or not complete. Your own text is shown.", true);
    return false;
  }
  refresh();
  keepSoon();
  return true;
}

// Puts text and settings into the address, and returns it.
export async function makeLink() {
  const { text, ranges } = editor;
  const fragment = await link.encode({
    text,
    ranges,
    lastSeed: state.lastSeed,
    ...snapshot(),
  });
  history.replaceState(null, "", fragment);
  return location.href;
}
