// LiteRT.js behind the little that is needed of it: parts are opened from bytes, run, and freed by hand.
//
// For a classic worker: the library starts its WebAssembly by importScripts, which a module worker has not.

import { fetchChecked } from "./bytes.js";
import { Trouble } from "./trouble.js";

const FOLDER = "litert/";
const CORE = `${FOLDER}index.js`;

/**
 * Load the library.
 *
 * @param library URL of the libraries' folder
 * @param files   path in it -> {bytes, sha256}
 * @param onBytes told how much of the WebAssembly came, of how much
 * @returns {open(bytes, spec) -> Part, build, heapBytes()}
 */
export async function loadLiteRt(library, files, onBytes = () => {}) {
  noGpu();
  const core = await import(new URL(CORE, library));
  const relaxed = await core.supportsFeature("relaxedSimd");
  const name = `${FOLDER}litert_wasm_${relaxed ? "" : "compat_"}internal`;
  const wasm = `${name}.wasm`;
  const script = new URL(`${name}.js`, library);
  const record = { file: wasm, ...files[wasm] };
  const bytes = await fetchChecked(new URL(wasm, library), record, (count) => onBytes(count, record.bytes));
  const { warn } = console;
  console.warn = () => {}; // that there is no GPU
  const litert = await new Promise((resolve, reject) => {
    const failed = (error) => reject(new Trouble("no_wasm", { what: String(error?.message ?? error) }));
    self.Module = {
      instantiateWasm(imports, done) {
        WebAssembly.instantiate(bytes, imports).then(({ instance, module }) => done(instance, module), failed);
        return {};
      },
      print: () => {}, // its log of how it starts
      printErr: () => {},
    };
    core.loadLiteRt(script.href, { threads: false }).then(resolve, failed);
  }).finally(() => { console.warn = warn; });
  return {
    build: `${relaxed ? "relaxed" : "no relaxed"} SIMD, 1 thread`,
    heapBytes: () => litert.liteRtWasm.HEAPU8.length,
    async open(artifact, spec) {
      try {
        return new Part(core, await core.loadAndCompile(artifact, { accelerator: "wasm" }), spec);
      } catch (error) {
        throw new Trouble("refused", { what: String(error?.message ?? error) });
      }
    },
  };
}

/** It asks for a GPU, which nothing here uses, and which takes a phone's memory: there is none. */
function noGpu() {
  if (self.navigator.gpu) Object.defineProperty(self.navigator, "gpu", { value: undefined });
}

/** One part, ready to run. */
class Part {
  constructor(core, model, spec) {
    this.core = core;
    this.model = model;
    this.shape = spec.inputs[0].shape;
    this.names = model.getOutputDetails().map((one) => one.name);
  }

  /** Floats in the shape of the part's input -> a tensor, to be freed by `delete`. */
  input(floats) {
    return new this.core.Tensor(floats, this.shape);
  }

  /** Run on a tensor, which stays the caller's. */
  async run(tensor) {
    return new Outputs(this.names, await this.model.run([tensor]));
  }

  /** Run, read the logits and free what came: what is timed of a part. */
  async once(tensor) {
    const outputs = await this.run(tensor);
    outputs.values("logits");
    outputs.free();
  }

  close() {
    this.model.delete();
  }
}

/** What a part gave; a tensor may be another part's input until it is freed. */
class Outputs {
  constructor(names, tensors) {
    this.names = names;
    this.tensors = tensors;
  }

  tensor(name) {
    return this.tensors[this.names.indexOf(name)];
  }

  /** A copy of an output's floats. */
  values(name) {
    return this.tensor(name).toTypedArray();
  }

  free() {
    for (const tensor of this.tensors) tensor.delete();
  }
}
