// The page of `textgen cells`: the text coloured by one cell, or by one feature.

const cells = data.cells.length;
const places = data.layers.flatMap(([, size], layer) =>
  Array.from({ length: size }, (_, number) => [layer, number]));
const firsts = data.layers.map((_, layer) => places.findIndex(([each]) => each === layer));
let current = 0;

// Bytes 1 to 255 are numbers from -1 to 1.
function decoded(text, scale) {
  const bytes = atob(text);
  return Float32Array.from(bytes, (each) => ((each.charCodeAt(0) - 128) / 127) * scale);
}

const view = new ColouredText(element("text"), data.tokens, (place, value) =>
  `${view.channel.signed ? signed(value, 2) : value.toFixed(0)}, ` +
  `token ${(place + 1).toLocaleString("en")}`);

function nameOf(cell) {
  const [layer, number] = places[cell];
  return data.layers.length > 1 ? `${data.layers[layer][0]} · ${number}` : `${number}`;
}

function show(cell) {
  current = Math.max(0, Math.min(cells - 1, cell));
  const [layer, number] = places[current];
  element("layer").value = layer;
  for (const id of ["slider", "number"]) {
    element(id).max = data.layers[layer][1] - 1;
    element(id).value = number;
  }
  element("slider").setAttribute("aria-valuetext", `cell ${nameOf(current)}`);
  const scale = data.scales[current];
  view.paint({ values: decoded(data.cells[current], scale), limit: scale || 1,
    signed: true, unit: "", digits: 2 });
  const best = data.features
    .map(({ name, r }) => [name, r[current]])
    .sort((one, two) => Math.abs(two[1]) - Math.abs(one[1]))
    .slice(0, 3).map(([name, r]) => `${name} ${signed(r, 2)}`);
  element("follows").textContent = best.length
    ? `Cell ${nameOf(current)} correlates with: ${best.join(", ")}`
    : `Cell ${nameOf(current)}`;
  press(`cell ${current}`);
  history.replaceState(null, "", `#cell=${current}`);
}

function showFeature(feature, index) {
  const values = decoded(feature.values, feature.scale);
  view.paint({ values, limit: feature.scale || 1, signed: false, unit: "", digits: 0 });
  element("follows").textContent = `The feature “${feature.name}” itself: ${feature.meaning}`;
  press(`feature ${index}`);
}

function press(what) {
  for (const button of element("features").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", button.dataset.what === what);
  }
}

function addFeature(feature, index) {
  const own = make("button", feature.name, { type: "button", title: feature.meaning });
  own.dataset.what = `feature ${index}`;
  own.addEventListener("click", () => showFeature(feature, index));
  const best = [...feature.r.keys()]
    .sort((one, two) => Math.abs(feature.r[two]) - Math.abs(feature.r[one]))
    .slice(0, 2);
  const buttons = best.map((cell) => {
    const [first, second] = feature.halves.map((half) => signed(half[cell], 2));
    const button = make("button", undefined, { type: "button",
      title: `r in the first half of the text ${first}, in the second ${second}` });
    button.append(make("b", nameOf(cell)), ` ${signed(feature.r[cell], 2)}`);
    button.dataset.what = `cell ${cell}`;
    button.addEventListener("click", () => show(cell));
    return button;
  });
  const row = make("tr");
  const [left, right] = [make("td"), make("td")];
  left.append(own);
  const group = make("div", undefined, { className: "row" });
  group.append(...buttons);
  right.append(group);
  row.append(left, right, make("td", feature.untrained.toFixed(2), { className: "quiet" }));
  element("features").append(row);
}

element("title").textContent = data.title;
element("about").textContent = data.about;
element("caution").textContent = data.caution;
data.features.forEach(addFeature);
element("none").hidden = data.features.length > 0;
element("table").hidden = data.features.length === 0;
data.layers.forEach(([name], layer) =>
  element("layer").append(make("option", name, { value: layer })));
element("layers").hidden = data.layers.length < 2;
element("layer").addEventListener("change", (event) =>
  show(firsts[event.target.value]));
for (const id of ["slider", "number"]) {
  element(id).addEventListener("input", (event) => {
    const number = Number.parseInt(event.target.value, 10);
    const [layer] = places[current];
    if (number >= 0 && number < data.layers[layer][1]) show(firsts[layer] + number);
  });
}
element("previous").addEventListener("click", () => show((current + cells - 1) % cells));
element("next").addEventListener("click", () => show((current + 1) % cells));

const linked = /^#cell=(\d+)$/.exec(location.hash);
show(linked ? Number(linked[1]) : data.first);
