// The page's end of the worker: requests with answers, and events.

import { Trouble } from "./trouble.js";

export class Thread {
  #worker;
  #waiting = new Map();
  #count = 0;
  #dead = false; // it never began

  /** `onEvent` is told what the worker says unasked. */
  constructor(onEvent = () => {}) {
    this.#worker = new Worker(new URL("./worker.js", import.meta.url));
    this.#worker.addEventListener("message", ({ data: { id, event, result, trouble } }) => {
      if (event) return onEvent(event);
      const { resolve, reject } = this.#waiting.get(id);
      this.#waiting.delete(id);
      return trouble ? reject(Trouble.from(trouble)) : resolve(result);
    });
    this.#worker.addEventListener("error", (event) => {
      event.preventDefault();
      this.#dead ||= event.message === undefined; // its script could not be had
      for (const { reject } of this.#waiting.values()) reject(new Trouble("unexpected", { what: event.message ?? "worker.js" }));
      this.#waiting.clear();
    });
  }

  /** Have the engine do `what`; throws Trouble. */
  ask(what, args) {
    return new Promise((resolve, reject) => {
      if (this.#dead) return void reject(new Trouble("unreachable", { file: "worker.js" }));
      this.#waiting.set(++this.#count, { resolve, reject });
      this.#worker.postMessage({ id: this.#count, what, args });
    });
  }

  end() {
    this.#worker.terminate();
  }
}
