// What all modules of the page share: its parts, and what is going on.

import { ApiError } from "./api.js";
import { Announcer } from "./announcer.js";
import { Editor } from "./editor.js";
import { Settings } from "./settings.js";
import { Shading } from "./shading.js";
import { Tree } from "./tree.js";

export const find = (id) => document.getElementById(id);

export const state = {
  server: null, // the answer of /models
  wanted: null, // name of the model to use when the models are known
  tree: new Tree(),
  running: null, // AbortController of the text that is being written
  measuring: null, // AbortController of the probabilities
  lastSeed: null,
};

export const editor = new Editor(find("text"), find("mirror"));
export const settings = new Settings();
export const shading = new Shading(find("tokens"), find("popover"), find("bar"));
export const announcer = new Announcer(find("announcer"));

export function tell(message, isError = false) {
  find("status").textContent = message;
  find("status").classList.toggle("error", isError);
}

export function tellError(error) {
  tell(error instanceof ApiError ? error.message : `Something failed: ${error}`, true);
}

export function tellBusy(seconds) {
  tell(`The server is busy. Trying again in ${seconds} seconds…`);
}

export function model() {
  return state.server?.models.find(({ name }) => name === find("model").value);
}

// Returns whether the probabilities are shown.
export function shaded() {
  return find("shade").getAttribute("aria-pressed") === "true";
}

// Returns the model and the settings, as the tree and the links hold them.
export function snapshot() {
  return { model: model()?.name ?? state.wanted, settings: settings.get() };
}

export function stop() {
  state.running?.abort();
  state.running = null;
}
