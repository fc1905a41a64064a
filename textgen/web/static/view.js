// Shows the state in the controls.

import { reveal } from "./scrolling.js";
import { editor, find, model, settings, shaded, state } from "./state.js";

const UNITS = { character: "character", word: "word", byte: "byte", subword: "token" };
const SAMPLES = 4;

let drawn = []; // what the list of texts shows

// It leaves alone what does not change: see `Editor.draw`.
export function refresh() {
  const { lastSeed, running, server, tree } = state;
  const empty = !editor.text;
  show("go", running ? "Stop" : "Continue");
  find("go").disabled = !server;
  find("editor").setAttribute("aria-busy", Boolean(running));
  find("another").disabled = !running && !canRetry();
  find("shade").disabled = empty && !shaded();
  for (const id of ["link", "copy", "save", "fresh"]) find(id).disabled = empty;
  find("welcome").hidden = !empty || Boolean(running);
  find("authors").hidden = shaded() || !editor.ranges.length;
  find("tried-empty").hidden = tree.nodes.length > 0;
  find("forget").hidden = !tree.nodes.length;
  find("used").hidden = lastSeed === null || settings.get().seed === lastSeed;
  show("last", `Last seed: ${lastSeed}`);
  drawTree(tree);
}

function show(id, text) {
  if (find(id).textContent !== text) find(id).textContent = text;
}

function drawTree(tree) {
  const now = [tree, tree.version, tree.current, tree.nodes.length];
  if (now.every((value, index) => value === drawn[index])) return;
  drawn = now;
  tree.draw(find("tree"));
  reveal(find("tree").querySelector("[aria-current]"), document.querySelector("aside"));
}

// Returns whether the text ends with what the model wrote last.
export function canRetry() {
  const { tree } = state;
  const node = tree.nodes[tree.current];
  return node?.kind === "model" && tree.text(tree.current) === editor.text;
}

// Selects a model, or the default one if there is no such model; returns whether there
// is. Before the models are known, it is remembered.
export function choose(name) {
  const { server } = state;
  state.wanted = name;
  if (!server) return true;
  const known = server.models.some((each) => each.name === name);
  find("model").value = known ? name : server.default;
  showModel(model());
  return known;
}

function showModel({ name, title, level, tokens, network, samples }) {
  const size = `${tokens.toLocaleString("en")} ${UNITS[level]}s`;
  const words = [title !== name && title, network, size];
  find("about").textContent = words.filter(Boolean).join(" · ");
  find("unit").textContent = UNITS[level];
  settings.use(model(), state.server.limits);
  find("samples").hidden = !samples.length;
  const buttons = samples.slice(0, SAMPLES).map((sample) => {
    const button = document.createElement("button");
    button.type = "button";
    button.value = sample;
    button.append(sample.replaceAll("\n", " ⏎ "));
    return button;
  });
  find("samples").firstElementChild.replaceChildren(...buttons);
}
