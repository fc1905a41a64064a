// The text area, and behind it a copy of the text that marks what the model wrote.
//
// The copy also gives the text area its height, so that the page scrolls, not the area.

// Returns the ranges of the model after an edit: [[start, end], …], ascending.
export function moveRanges(ranges, before, after) {
  const start = commonStart(before, after);
  const end = before.length - commonEnd(before, after, start);
  const moved = after.length - before.length;
  const kept = [];
  for (const [first, last] of ranges) {
    if (first < start) kept.push([first, Math.min(last, start)]);
    if (last > end) kept.push([Math.max(first, end) + moved, last + moved]);
  }
  return joined(kept);
}

export function commonStart(a, b) {
  const most = Math.min(a.length, b.length);
  let at = 0;
  while (at < most && a.charCodeAt(at) === b.charCodeAt(at)) at++;
  return at;
}

export function commonEnd(a, b, start) {
  const most = Math.min(a.length, b.length) - start;
  let count = 0;
  while (
    count < most &&
    a.charCodeAt(a.length - 1 - count) === b.charCodeAt(b.length - 1 - count)
  ) {
    count++;
  }
  return count;
}

function joined(ranges) {
  const result = [];
  for (const [first, last] of ranges) {
    if (first >= last) continue;
    if (result.length && result.at(-1)[1] === first) result.at(-1)[1] = last;
    else result.push([first, last]);
  }
  return result;
}

export class Editor {
  constructor(area, mirror) {
    this.area = area;
    this.mirror = mirror;
    this.onedit = null; // called after each change that the person makes
    this.text = "";
    this.ranges = [];
    this.inserting = false;
    area.addEventListener("input", () => {
      if (this.inserting) return;
      const text = area.value;
      this.ranges = moveRanges(this.ranges, this.text, text);
      this.text = text;
      this.draw();
      this.onedit?.();
    });
  }

  // Replaces everything.
  set(text, ranges = []) {
    text = text.replaceAll("\r\n", "\n").replaceAll("\r", "\n");
    this.text = text;
    this.ranges = ranges.map((range) => [...range]);
    if (this.area.value !== text) this.area.value = text;
    this.draw();
  }

  // Adds text of the model at the end.
  append(piece) {
    const start = this.text.length;
    this.text += piece;
    this.ranges = joined([...this.ranges, [start, this.text.length]]);
    const { area } = this;
    const { selectionStart, selectionEnd } = area;
    // The command keeps the history of undo, but moves the cursor.
    this.inserting = true;
    const follows = document.activeElement === area && selectionStart === start;
    const done = follows && document.execCommand("insertText", false, piece);
    this.inserting = false;
    if (!done || area.value !== this.text) {
      const end = this.text.length;
      area.value = this.text;
      if (selectionStart === start) area.setSelectionRange(end, end);
      else area.setSelectionRange(selectionStart, selectionEnd);
    }
    const last = this.mirror.lastElementChild?.previousElementSibling;
    if (last?.className === "model" && this.ranges.at(-1)[0] < start) {
      last.firstChild.appendData(piece);
    } else {
      this.draw();
    }
  }

  // Returns where the cursor is on the screen; null while a text is being inserted.
  caret() {
    let place = this.area.selectionEnd;
    for (const { firstChild } of this.mirror.children) {
      if (place <= firstChild.length) {
        const range = document.createRange();
        range.setStart(firstChild, place);
        return range.getBoundingClientRect();
      }
      place -= firstChild.length;
    }
    return null;
  }

  // Changes the text of the parts in place: a browser that sees nodes go ends a step of
  // undo there, and every letter would be a step.
  draw() {
    const parts = [];
    let at = 0;
    for (const [start, end] of this.ranges) {
      parts.push(["person", at, start], ["model", start, end]);
      at = end;
    }
    // A last line that is empty has a height only with something in it.
    parts.push(["person", at, this.text.length], ["end", 0, 0]);
    const shown = parts.filter(([name, start, end]) => name === "end" || start < end);
    const spans = this.mirror.children;
    shown.forEach(([name, start, end], index) => {
      if (!spans[index]) this.mirror.append(document.createElement("span"));
      const span = spans[index];
      const text = name === "end" ? "\u200b" : this.text.slice(start, end);
      if (span.className !== name) span.className = name;
      if (!span.firstChild) span.append(text);
      else if (span.firstChild.data !== text) span.firstChild.data = text;
    });
    while (spans.length > shown.length) this.mirror.lastElementChild.remove();
  }
}
