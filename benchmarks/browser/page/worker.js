// The thread that computes, so that the page never stalls. A classic worker, for LiteRT.js starts by importScripts.

"use strict";

const desk = import("./engine.js").then(({ Engine }) => new Engine((event) => self.postMessage({ event })));
let turn = desk; // one request after the other

self.addEventListener("message", ({ data: { id, what, args } }) => {
  turn = turn.then(async () => {
    const { Trouble } = await import("./trouble.js");
    try {
      const result = await (await desk)[what](args);
      self.postMessage({ id, result }, result?.transfer ?? []);
    } catch (error) {
      self.postMessage({ id, trouble: Trouble.record(error) });
    }
  });
});
