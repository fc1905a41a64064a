// The page of `textgen serve`: connects its parts, and begins.

import * as api from "./api.js";
import { measure, showPlain, toggleShading } from "./probabilities.js";
import { uncover } from "./scrolling.js";
import * as share from "./share.js";
import {
  editor,
  find,
  settings,
  shaded,
  shading,
  state,
  stop,
  tell,
  tellError,
} from "./state.js";
import { Tree } from "./tree.js";
import { choose, refresh } from "./view.js";
import { changed, keep, keepTyped, makeLink, openLink, restore } from "./work.js";
import { another, goOn, goTo, rewrite } from "./writing.js";

const NARROW = 900; // pixels; below it, settings and history are folded
const RETRY = 3000; // milliseconds until a server that did not answer is asked again

async function copy(text, message) {
  try {
    await share.copy(text);
    tell(message);
  } catch {
    tell("The browser does not allow it: copy from the address bar or the text.", true);
  }
}

async function copyLink() {
  await copy(await makeLink(), "The link is copied: it holds text and settings.");
}

async function followLink() {
  const opened = await openLink();
  showPlain();
  if (opened && shaded()) measure();
}

function keepSeed() {
  settings.set({ ...settings.get(), seed: state.lastSeed });
  find("seed").focus();
  changed();
}

function startWith(sample) {
  editor.set(sample);
  changed();
  find("text").focus();
  find("text").setSelectionRange(sample.length, sample.length);
}

function startAfresh() {
  stop();
  keepTyped();
  state.tree.current = null;
  if (shaded()) toggleShading();
  startWith("");
  tell("");
}

function forgetAll() {
  if (!confirm("Forget all texts that you tried, but not the one you see?")) return;
  stop();
  state.tree = new Tree();
  changed();
  tell("All is forgotten but the text in the editor.");
}

function useModel() {
  choose(find("model").value);
  changed();
  if (shaded()) measure();
}

function onkey(event) {
  const control = event.ctrlKey || event.metaKey;
  if (event.key === "Enter" && control && !event.isComposing) {
    event.preventDefault();
    if (event.shiftKey) another();
    else if (!state.running) goOn();
  } else if (event.key === "Escape" && state.running) {
    stop();
  } else if (event.altKey && !control && event.code === "KeyP") {
    event.preventDefault();
    toggleShading();
  }
}

function listen() {
  const actions = {
    go: goOn,
    another,
    shade: toggleShading,
    fresh: startAfresh,
    forget: forgetAll,
    keep: keepSeed,
    link: copyLink,
    copy: () => copy(editor.text, "The text is copied."),
    save: () => share.save(editor.text),
  };
  for (const [id, action] of Object.entries(actions)) {
    find(id).addEventListener("click", () => action());
  }
  find("welcome").addEventListener("click", ({ target }) => {
    if (target.closest("button")) startWith(target.closest("button").value);
    else find("text").focus();
  });
  find("tree").addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (button) goTo(Number(button.dataset.node));
  });
  find("model").addEventListener("change", useModel);
  editor.onedit = () => {
    state.running?.abort(); // who types takes over
    changed();
  };
  for (const event of ["input", "keyup"]) {
    find("text").addEventListener(event, () => {
      const caret = editor.caret();
      if (caret) uncover(caret, 16);
    });
  }
  settings.onchange = changed;
  shading.onchoose = rewrite;
  document.addEventListener("keydown", onkey);
  window.addEventListener("hashchange", followLink);
  window.addEventListener("pagehide", keep);
}

// Returns the answer of /models, as soon as there is one.
async function models() {
  for (;;) {
    try {
      return await api.models();
    } catch (error) {
      tellError(error);
      await new Promise((resolve) => setTimeout(resolve, RETRY));
    }
  }
}

async function begin() {
  if (window.innerWidth < NARROW) find("settings").open = find("tried").open = false;
  const intact = restore();
  listen();
  refresh();
  tell("Loading the models…");
  state.server = await models();
  if (intact) tell("");
  else tell("What was kept in this browser is damaged, and left out.", true);
  const options = state.server.models.map(({ name }) => new Option(name));
  find("model").replaceChildren(...options);
  find("model").disabled = false;
  choose(state.wanted);
  await followLink();
  refresh();
}

begin();
