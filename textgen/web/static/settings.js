// The controls of the settings, and their values.

const DEFAULTS = { temperature: 0.7, top_p: 1, length: 200, seed: null, label: null };

const SLIDERS = ["temperature", "top_p", "length"];

const UNITS = { character: "characters", word: "words", byte: "bytes" };

const find = (id) => document.getElementById(id);

export class Settings {
  constructor() {
    this.onchange = null; // called when the person changes a value
    this.model = null;
    this.label = null; // what is wanted, until the labels of the model are known
    for (const name of Object.keys(DEFAULTS)) {
      find(name).addEventListener("input", () => {
        this.describe();
        this.onchange?.();
      });
    }
    this.set(DEFAULTS);
  }

  // Shows what a model needs: its labels, and the name of its tokens.
  use(model, limits) {
    const { label } = this.get();
    this.model = model;
    this.label = null;
    find("length").max = Math.min(1000, limits.max_new_tokens);
    find("labels").hidden = !model.labels.length;
    const options = model.labels.map((each) => new Option(each, each));
    find("label").replaceChildren(new Option("none", ""), ...options);
    find("label").value = model.labels.includes(label) ? label : "";
    this.describe();
  }

  get() {
    const seed = find("seed").value;
    return {
      temperature: find("temperature").valueAsNumber,
      top_p: find("top_p").valueAsNumber,
      length: find("length").valueAsNumber,
      seed: seed === "" || !find("seed").validity.valid ? null : Number(seed),
      label: this.model ? find("label").value || null : this.label,
    };
  }

  // Values that are missing, or of another type, become the defaults: they may come
  // from a link. The controls keep them within their range.
  set(values) {
    const number = (name) =>
      Number.isFinite(values?.[name]) ? values[name] : DEFAULTS[name];
    for (const name of SLIDERS) find(name).value = number(name);
    find("seed").value = number("seed") ?? "";
    const label = typeof values?.label === "string" ? values.label : null;
    this.label = label;
    find("label").value = this.model?.labels.includes(label) ? label : "";
    this.describe();
  }

  describe() {
    const { temperature, top_p, length } = this.get();
    find("seed-help").textContent = find("seed").validity.valid
      ? "the same seed writes the same text"
      : "must be a whole number, 0 or more";
    const unit = UNITS[this.model?.level] ?? "tokens";
    this.show("temperature", temperature.toFixed(2));
    this.show("top_p", top_p === 1 ? "off" : top_p.toFixed(2));
    this.show("length", `${length} ${unit}`);
  }

  show(name, text) {
    document.querySelector(`output[for=${name}]`).value = text;
    find(name).setAttribute("aria-valuetext", text);
  }
}
