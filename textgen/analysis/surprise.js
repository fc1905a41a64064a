// The page of `textgen surprise`: the text coloured by surprisal, or by a difference.

const channels = data.channels.map((channel) => ({
  ...channel,
  values: channel.values.map((value) => value ?? NaN),
  unit: "bits",
  digits: 1,
}));

function describe(place, value) {
  if (Number.isNaN(value)) return "the model does not predict it";
  if (view.channel.signed) return `${signed(value, 2)} bits`;
  const probability = 2 ** -value;
  const percent = 100 * probability;
  const shown = percent >= 0.1 ? percent.toFixed(1) : percent.toExponential(1);
  return `${value.toFixed(2)} bits, probability ${shown} %`;
}

const view = new ColouredText(element("text"), data.tokens, describe);

function show(channel) {
  element("what").textContent = channel.signed
    ? "Where the second model is more surprised, bits" : "The most surprising places, bits";
  element("hint").textContent = channel.signed
    ? "Orange: the second model is more surprised. Blue: the first one is."
    : "Surprisal is −log2 of the probability that the model gave to what came.";
  element("places").replaceChildren(...channel.places.map(([place, ...texts]) => {
    const [before, token, after] =
      texts.map((text) => visible(text).replaceAll("\n", "↵"));
    const button = make("button", undefined, { type: "button" });
    const code = make("code");
    code.append(before, make("b", token), after);
    const bits = channel.values[place];
    const size = channel.signed ? signed(bits, 1) : bits.toFixed(1);
    button.append(make("span", size, { className: "quiet" }), " ", code);
    button.addEventListener("click", () => view.mark(place, true));
    const item = make("li");
    item.append(button);
    return item;
  }));
  view.paint(channel);
}

element("title").textContent = data.title;
element("about").textContent = data.about;
element("choice").hidden = channels.length < 2;
channels.forEach(({ name }, index) =>
  element("channel").append(make("option", name, { value: index })));
element("channel").addEventListener("change", (event) =>
  show(channels[event.target.value]));
show(channels[0]);
