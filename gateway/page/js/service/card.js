// The card of a model, in a dialog over the list of models.

import { ask, problemOf } from "../api.js";
import { problemBox } from "../advice.js";
import { $, element } from "../dom.js";
import { render } from "./markdown.js";

const TITLE = /^\s*#\s+(.*)\n?/;

export class CardDialog {
  #asked = null; // the AbortController of the card that is on its way

  constructor(root) {
    this.root = root;
    this.title = $("h2", root);
    this.text = $(".card-text", root);
    $(".close", root).addEventListener("click", () => root.close());
    root.addEventListener("close", () => this.#asked?.abort());
    // A dialog of a view that is left would still lie over the others.
    window.addEventListener("hashchange", () => root.close());
  }

  get open() {
    return this.root.open;
  }

  async show(model) {
    const { signal } = this.#asked = new AbortController();
    this.title.textContent = model.title;
    this.text.replaceChildren(element("p", { text: "Asking the server." }));
    this.root.showModal();
    try {
      const response = await ask(`/v1/models/${encodeURIComponent(`${model.name}@${model.version}`)}/card`, { signal });
      const markdown = await response.text();
      const [whole, title] = markdown.match(TITLE) ?? ["", model.title];
      this.title.textContent = title;
      this.text.replaceChildren(...render(markdown.slice(whole.length), 1));
    } catch (error) {
      if (signal.aborted) return;
      const none = error.code === "not-found"; // the model is there: the list has just named it
      this.text.replaceChildren(none ? element("p", { text: "This model has no card." }) : problemBox(problemOf(error)));
    }
    this.text.scrollTop = 0;
  }
}
