// inputs.npy: numpy's file of one array. https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html

import { Trouble } from "./trouble.js";

/** The bytes of an .npy of float32 in C order -> its floats. Throws Trouble: malformed. */
export function readFloats(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const wide = bytes[6] > 1; // version 1 has a length of two bytes
  const start = wide ? 12 : 10;
  const length = bytes.length > start ? (wide ? view.getUint32(8, true) : view.getUint16(8, true)) : 0;
  const header = new TextDecoder().decode(bytes.subarray(start, start + length));
  const shape = /'shape': \(([\d, ]*)\)/.exec(header)?.[1].match(/\d+/g)?.map(Number);
  const floats = bytes.slice(start + length);
  const count = shape?.reduce((product, side) => product * side, 1);
  if (!header.includes("'<f4'") || !header.includes("'fortran_order': False") || floats.length !== 4 * count)
    throw new Trouble("malformed", { file: "inputs.npy", problem: "it holds no float32 array" });
  return new Float32Array(floats.buffer);
}
