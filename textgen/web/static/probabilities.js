// The view of the probabilities.

import * as api from "./api.js";
import { limitNote, measurements, tail } from "./requests.js";
import { align } from "./shading.js";
import {
  editor,
  find,
  model,
  settings,
  shaded,
  shading,
  state,
  tell,
  tellBusy,
  tellError,
} from "./state.js";
import { refresh } from "./view.js";

// Shows the text without probabilities from a place on, and before it as it is.
export function showPlain(from = 0) {
  shading.cut(from);
  const end = shading.end() ?? editor.text.length - tail(editor.text).length;
  find("pending").textContent = editor.text.slice(end);
}

// Shows the probabilities; `at` is the place in the text to stand on.
export async function measure(at = Infinity, focus = false) {
  state.measuring?.abort();
  const own = new AbortController();
  state.measuring = own;
  const { text } = editor;
  const focused = document.activeElement;
  const wantsFocus = focus || find("tokens").contains(focused);
  const parts = measurements(text, model(), state.server.limits, settings.get());
  find("shaded-note").textContent = limitNote(parts, model());
  find("shaded-note").hidden = !find("shaded-note").textContent;
  find("tokens").setAttribute("aria-busy", "true");
  const said = find("status").textContent;
  const wait = setTimeout(() => tell("Measuring the probabilities…"), 300);
  try {
    const tokens = await placed(parts, own.signal);
    if (own.signal.aborted || state.running || text !== editor.text) return;
    find("pending").textContent = "";
    shading.show(tokens, at);
    const free = [focused, document.body].includes(document.activeElement);
    if (wantsFocus && free) shading.focus();
    if (find("status").textContent.startsWith("Measuring")) tell(said);
  } catch (error) {
    if (own.signal.aborted) return;
    showPlain();
    tellError(error);
  } finally {
    clearTimeout(wait);
    if (state.measuring === own) find("tokens").removeAttribute("aria-busy");
  }
}

// Returns the tokens of all parts, with their places in the text.
async function placed(parts, signal) {
  const all = [];
  for (const { query, start, shown } of parts) {
    const { tokens } = await api.score(query, signal, tellBusy);
    all.push(...align(query.text, tokens, start).filter((each) => each.start >= shown));
  }
  return all;
}

// Switches between writing and the probabilities.
export function toggleShading() {
  if (!state.server || (!shaded() && !editor.text)) return;
  const on = !shaded();
  const writing = document.activeElement === find("text");
  find("shade").setAttribute("aria-pressed", on);
  for (const id of ["editor", "keys"]) find(id).hidden = on;
  for (const id of ["shaded", "shaded-keys", "scale"]) find(id).hidden = !on;
  showPlain();
  refresh();
  if (!on) {
    state.measuring?.abort();
    find("text").focus();
  } else if (!state.running) {
    measure(writing ? find("text").selectionEnd : Infinity, writing);
  }
}
