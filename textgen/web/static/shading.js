// The text with the probability of each token, and what else was probable there.

const LEVELS = [0.01, 0.03, 0.1, 0.2, 0.5]; // the legend of the page names them
const LOOKAHEAD = 200; // characters that the model may not know, between two tokens
const PART = /^<0x[0-9A-F]{2}>$/; // of a character: it cannot be chosen alone
const PLAIN = { "‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-" };

// Returns the tokens with their place in the text: `{start, end, …}`.
//
// A model without capital letters, or without some symbols, reads another text than the
// person wrote. The places are those in the text that was written.
export function align(text, tokens, start = 0) {
  const placed = [];
  let at = 0;
  for (const token of tokens) {
    const size = token.text.length;
    if (!size) continue;
    let place = at;
    while (place - at < LOOKAHEAD && place + size <= text.length) {
      if (alike(text.slice(place, place + size), token.text)) break;
      place++;
    }
    if (place - at >= LOOKAHEAD || place + size > text.length) place = at;
    if (place >= text.length) break;
    if (place > at) placed.push(unknown(text, at, place, start));
    at = Math.min(place + size, text.length);
    placed.push({ ...token, text: text.slice(place, at), start: start + place });
  }
  if (at < text.length) placed.push(unknown(text, at, text.length, start));
  return placed;
}

function unknown(text, from, to, start) {
  const token = { text: text.slice(from, to), start: start + from, unknown: true };
  return { ...token, probability: null, alternatives: [] };
}

function alike(a, b) {
  return a === b || folded(a) === folded(b);
}

function folded(text) {
  const plain = text.replace(/[‘’“”–—]/g, (symbol) => PLAIN[symbol]);
  return plain.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
}

function percent(probability) {
  const value = 100 * probability;
  if (value < 0.1) return "< 0.1 %";
  return `${value < 9.95 ? value.toFixed(1) : value.toFixed(0)} %`;
}

function visible(text) {
  return text.replaceAll(" ", "␣").replaceAll("\n", "⏎").replaceAll("\t", "⇥");
}

function spoken(text) {
  return { " ": "space", "\n": "new line" }[text] ?? text;
}

function element(name, className, ...content) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...content);
  return made;
}

export class Shading {
  // The popover does not cover the bar.
  constructor(list, popover, bar) {
    Object.assign(this, { list, popover, bar, tokens: [], current: 0, shown: null });
    this.onchoose = null; // called with a token and the text that replaces it
    list.addEventListener("focusin", (event) => this.onfocus(event));
    list.addEventListener("focusout", () => this.hideSoon());
    list.addEventListener("keydown", (event) => this.onkey(event));
    list.addEventListener("pointerover", (event) => {
      const index = this.indexOf(event.target);
      const points = event.pointerType === "mouse" && index !== null;
      if (points && !this.held()) this.open(index);
    });
    list.addEventListener("pointerleave", () => this.hideSoon());
    popover.addEventListener("pointerenter", () => clearTimeout(this.timer));
    popover.addEventListener("pointerleave", () => this.hideSoon());
    popover.addEventListener("focusout", () => this.hideSoon());
    popover.addEventListener("keydown", (event) => this.onmenukey(event));
    window.addEventListener("resize", () => this.close());
  }

  // Shows the tokens; `at` is the place in the text of the token to stand on.
  show(tokens, at = Infinity) {
    this.close();
    this.tokens = tokens;
    const after = tokens.findIndex((token) => token.start + token.text.length > at);
    this.current = after < 0 ? Math.max(tokens.length - 1, 0) : after;
    this.list.replaceChildren(...tokens.map((token, index) => this.span(token, index)));
  }

  span(token, index) {
    const { text, probability } = token;
    const span = element("span", "token", text);
    span.setAttribute("role", "option");
    span.setAttribute("aria-selected", index === this.current);
    span.tabIndex = index === this.current ? 0 : -1;
    span.dataset.index = index;
    if (text === "\n") span.classList.add("newline");
    let said = "not measured";
    if (token.unknown) {
      span.classList.add("unknown");
      said = "not known to the model";
    } else if (probability !== null) {
      span.classList.add(`p${LEVELS.filter((level) => probability >= level).length}`);
      said = percent(probability);
    }
    span.setAttribute("aria-label", `${spoken(text)}, ${said}`);
    return span;
  }

  // Leaves only the tokens before a place in the text.
  cut(at) {
    this.close();
    const count = this.tokens.filter((token) => token.start < at).length;
    this.tokens = this.tokens.slice(0, count);
    while (this.list.childElementCount > count) this.list.lastElementChild.remove();
  }

  // Returns where the last token ends, or null if there is none.
  end() {
    const last = this.tokens.at(-1);
    return last ? last.start + last.text.length : null;
  }

  focus() {
    this.list.children[this.current]?.focus();
  }

  indexOf(target) {
    const span = target.closest?.("[data-index]");
    return span && this.list.contains(span) ? Number(span.dataset.index) : null;
  }

  held() {
    return this.popover.contains(document.activeElement);
  }

  onfocus(event) {
    const index = this.indexOf(event.target);
    if (index === null) return;
    const before = this.list.children[this.current];
    before?.setAttribute("aria-selected", "false");
    if (before) before.tabIndex = -1;
    this.current = index;
    event.target.setAttribute("aria-selected", "true");
    event.target.tabIndex = 0;
    this.open(index);
  }

  onkey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { key } = event;
    const last = this.tokens.length - 1;
    const steps = { ArrowLeft: -1, ArrowRight: 1 };
    let next = null;
    if (key in steps) next = this.current + steps[key];
    else if (key === "Home") next = 0;
    else if (key === "End") next = last;
    else if (key === "ArrowUp") next = this.lineStep(-1);
    else if (key === "ArrowDown") next = this.lineStep(1);
    if (next !== null) {
      event.preventDefault();
      this.list.children[Math.max(0, Math.min(next, last))].focus();
    } else if (key === "Enter" || key === " ") {
      event.preventDefault();
      this.open(this.current);
      this.popover.querySelector("button:enabled")?.focus();
    } else if (/^[1-5]$/.test(key)) {
      event.preventDefault();
      this.choose(this.current, Number(key) - 1);
    } else if (key === "Escape" && !this.popover.hidden) {
      event.stopPropagation();
      this.close();
    }
  }

  onmenukey(event) {
    const buttons = [...this.popover.querySelectorAll("button:enabled")];
    const at = buttons.indexOf(document.activeElement);
    const steps = { ArrowUp: -1, ArrowDown: 1 };
    if (event.key in steps) {
      event.preventDefault();
      buttons[(at + steps[event.key] + buttons.length) % buttons.length].focus();
    } else if (/^[1-5]$/.test(event.key)) {
      event.preventDefault();
      this.choose(this.shown, Number(event.key) - 1);
    } else if (event.key === "Escape" || event.key === "ArrowLeft") {
      event.preventDefault();
      event.stopPropagation();
      const index = this.shown;
      this.close();
      this.list.children[index].focus();
    }
  }

  // Returns the token above or below the current one.
  lineStep(direction) {
    const spans = this.list.children;
    const from = spans[this.current].getBoundingClientRect();
    let best = this.current;
    let line = null;
    for (let at = this.current + direction; spans[at]; at += direction) {
      const { top, left, height } = spans[at].getBoundingClientRect();
      if (Math.abs(top - from.top) < height / 2) continue;
      line ??= top;
      if (Math.abs(top - line) > height / 2) break;
      const better = Math.abs(left - from.left);
      const { left: old } = spans[best].getBoundingClientRect();
      if (best === this.current || better < Math.abs(old - from.left)) best = at;
    }
    return best;
  }

  choose(index, number) {
    const token = this.tokens[index];
    const alternative = token?.alternatives[number];
    if (!alternative || PART.test(alternative.text)) return;
    this.close();
    this.onchoose?.(token, alternative.text);
  }

  open(index) {
    clearTimeout(this.timer);
    if (this.shown === index) return;
    this.close();
    this.shown = index;
    const token = this.tokens[index];
    const span = this.list.children[index];
    this.popover.replaceChildren(...this.content(token, index));
    this.popover.hidden = false;
    span.classList.add("open");
    span.setAttribute("aria-describedby", this.popover.id);
    this.place(span);
  }

  content({ text, probability, alternatives, unknown: skipped }, index) {
    const glyph = element("b", "glyph", visible(text));
    if (skipped) return [element("p", "", glyph, " is not known to the model")];
    const first = "the first one, not predicted";
    const said = probability === null ? first : percent(probability);
    const head = element("p", "", glyph, " ", element("span", "", said));
    if (!alternatives.length) return [head];
    const list = element("ol", "");
    alternatives.slice(0, 5).forEach((each, number) => {
      const bar = element("span", "share-bar");
      bar.style.setProperty("--share", each.probability);
      const button = element(
        "button",
        each.text === text ? "same" : "",
        element("kbd", "", String(number + 1)),
        element("b", "glyph", visible(each.text)),
        bar,
        element("span", "percent", percent(each.probability)),
      );
      button.type = "button";
      button.disabled = PART.test(each.text);
      button.setAttribute(
        "aria-label",
        `${number + 1}: ${spoken(each.text)}, ${percent(each.probability)}`,
      );
      button.addEventListener("click", () => this.choose(index, number));
      list.append(element("li", "", button));
    });
    return [head, list, element("p", "hint", "Choose one to rewrite from here.")];
  }

  // Puts the popover below the token, or above it if there is no room.
  place(span) {
    const [rect] = span.getClientRects();
    const { popover } = this;
    const { offsetWidth: width, offsetHeight: height } = popover;
    const most = document.documentElement.clientWidth - width - 8;
    const left = Math.max(8, Math.min(rect.left - 16, most));
    const floor = this.bar.getBoundingClientRect().top;
    const below = rect.bottom + height + 8 < floor || rect.top < height + 8;
    const top = below ? rect.bottom + 4 : rect.top - height - 4;
    popover.style.left = `${left + window.scrollX}px`;
    popover.style.top = `${top + window.scrollY}px`;
  }

  hideSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      const inside = this.held() || this.list.contains(document.activeElement);
      if (!inside) this.close();
      else if (!this.held() && this.shown !== this.current) this.open(this.current);
    }, 200);
  }

  close() {
    clearTimeout(this.timer);
    if (this.shown === null) return;
    const span = this.list.children[this.shown];
    span?.classList.remove("open");
    span?.removeAttribute("aria-describedby");
    this.shown = null;
    this.popover.hidden = true;
  }
}
