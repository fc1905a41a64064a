// Tells screen readers the text that grows, by sentences and lines.

const PAUSE = 1500; // milliseconds between two announcements
const LONGEST = 200; // characters without the end of a sentence

export class Announcer {
  constructor(region) {
    this.region = region;
    this.held = "";
  }

  feed(piece) {
    this.held += piece;
    this.timer ??= setTimeout(() => {
      this.timer = null;
      const ends = [...this.held.matchAll(/[.!?;:]["'”’)]*\s|\n|[。！？，]/g)];
      let cut = ends.length ? ends.at(-1).index + ends.at(-1)[0].length : 0;
      if (!cut && this.held.length > LONGEST) cut = this.held.lastIndexOf(" ") + 1;
      const rest = this.held.slice(cut);
      this.say(this.held.slice(0, cut));
      this.held = "";
      if (rest) this.feed(rest);
    }, PAUSE);
  }

  // Says the rest.
  end() {
    clearTimeout(this.timer);
    this.timer = null;
    this.say(this.held);
    this.held = "";
  }

  say(text) {
    if (!text.trim()) return;
    const line = document.createElement("p");
    line.append(text.trim());
    this.region.append(line);
    while (this.region.childElementCount > 5) this.region.firstElementChild.remove();
  }
}
