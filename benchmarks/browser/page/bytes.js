// Bytes of a file: fetched with a bound, and compared with their SHA-256 before anybody uses them.

import { sha256 } from "../library/hashes/sha2.js";
import { Trouble } from "./trouble.js";

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** The SHA-256 of bytes in lowercase hexadecimal. crypto.subtle is not there where a page came by http from elsewhere. */
export async function digest(bytes) {
  const native = globalThis.crypto?.subtle;
  return hex(native ? new Uint8Array(await native.digest("SHA-256", bytes)) : sha256(bytes));
}

/** The path of a file of a bundle as it stands in an address: a name may have a # or a question mark in it. */
export const addressOf = (file) => file.split("/").map(encodeURIComponent).join("/");

/**
 * Fetch a file of at most `most` bytes; `onBytes` is told how many came so far.
 *
 * `cache`: "no-cache" asks the server whether what the browser keeps is still right, "force-cache" takes it as it is.
 *
 * Throws Trouble: unreachable, missing, too_many_bytes.
 */
export async function fetchBytes(url, most, onBytes = () => {}, cache = "no-cache") {
  const name = decodeURIComponent(new URL(url).pathname.split("/").slice(-3).join("/"));
  let response;
  try {
    response = await fetch(url, { cache });
  } catch {
    throw new Trouble("unreachable", { file: name });
  }
  if (!response.ok) throw new Trouble("missing", { file: name, status: response.status });
  const chunks = [];
  let count = 0;
  try {
    for (const reader = response.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      count += value.length;
      if (count > most) {
        await reader.cancel();
        throw new Trouble("too_many_bytes", { file: name, expected: most });
      }
      chunks.push(value);
      onBytes(count);
    }
  } catch (error) {
    throw error instanceof Trouble ? error : new Trouble("unreachable", { file: name });
  }
  const bytes = new Uint8Array(count);
  let place = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, place);
    place += chunk.length;
  }
  return bytes;
}

/**
 * Fetch a file that is known by its number of bytes and its SHA-256, from what the browser keeps where that is the same.
 *
 * Throws Trouble: also truncated, altered.
 */
export async function fetchChecked(url, { file, bytes, sha256: expected }, onBytes) {
  for (const cache of ["force-cache", "reload"]) {
    const last = cache === "reload";
    let found;
    try {
      found = await fetchBytes(url, bytes, onBytes, cache);
    } catch (error) {
      if (last || !["missing", "too_many_bytes"].includes(error.code)) throw error;
      continue; // that is what was there before
    }
    if (found.length === bytes && (await digest(found)) === expected) return found;
    if (last && found.length !== bytes) throw new Trouble("truncated", { file, expected: bytes, found: found.length });
  }
  throw new Trouble("altered", { file });
}
