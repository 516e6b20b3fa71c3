// The page's end of the desk (benchmarks/browser/desk.py): asks for tasks, says how far it is, brings answers.

import { Trouble } from "./trouble.js";

const OURS = { "X-Edge-Moe": "1" };
const KEPT = "page";
const ANY = "any";
const STATUS = { 401: "unknown_page", 404: "old_address", 410: "replaced" };

export class Desk {
  #page = sessionStorage.getItem(KEPT) ?? "";

  /** Say who this is; throws Trouble "busy" while another page works, unless this one is to work `instead`. */
  async hello(who, instead = false) {
    const response = await this.#send(`hello?instead_of=${instead ? ANY : this.#page}`, JSON.stringify(who));
    if (response.status === 409) throw new Trouble("busy");
    await expect(response);
    this.#page = (await response.json()).page;
    sessionStorage.setItem(KEPT, this.#page); // a reload goes on as the same page
  }

  /** What is to be done; null: nothing now. Throws Trouble "replaced" where another page took over. */
  async task() {
    const response = await this.#send(`task?page=${this.#page}`);
    if (response.status === 204) return null;
    await expect(response);
    return response.json();
  }

  async inputs(task) {
    const response = await this.#send(`inputs?task=${task}`);
    await expect(response);
    return new Float32Array(await response.arrayBuffer());
  }

  async alive(visible, done, of) {
    await expect(await this.#send(`alive?page=${this.#page}`, JSON.stringify({ visible, done, of })));
  }

  async answer(task, body) {
    await expect(await this.#send(`answer?page=${this.#page}&task=${task}`, body));
  }

  async failed(task, { code, values }) {
    await expect(await this.#send(`failed?page=${this.#page}&task=${task}`, JSON.stringify({ code, values })));
  }

  async #send(what, body) {
    try {
      return await fetch(`desk/${what}`, { method: body === undefined ? "GET" : "POST", body, headers: OURS });
    } catch {
      throw new Trouble("server_away");
    }
  }
}

async function expect(response) {
  if (response.ok) return;
  await response.body?.cancel();
  throw new Trouble(STATUS[response.status] ?? "unexpected", { what: `HTTP ${response.status}` });
}
