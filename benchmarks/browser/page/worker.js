// The thread that computes, so that the page never stalls. A classic worker, for LiteRT.js starts by importScripts.

"use strict";

const engine = import("./engine.js").then(({ Engine }) => new Engine((event) => self.postMessage({ event })));
let turn = engine.catch(() => {}); // one request after the other; each says what went wrong

/** What crosses to the page of an error, also where trouble.js did not load. */
function recorded(error) {
  const { code, values, message } = error ?? {};
  return values ? { code, values } : { code: "unexpected", values: { what: String(message ?? error) } };
}

self.addEventListener("message", ({ data: { id, what, args } }) => {
  turn = turn.then(async () => {
    try {
      self.postMessage({ id, result: await (await engine)[what](args) });
    } catch (error) {
      self.postMessage({ id, trouble: recorded(error) });
    }
  });
});
