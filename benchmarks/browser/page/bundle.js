// A bundle behind a URL: manifest.json and operating.json, as strict as edge_moe/bundle.py, and files by their hash.

import { Validator } from "../library/json-schema/index.js";
import { addressOf, fetchBytes, fetchChecked } from "./bytes.js";
import { partNames } from "./mixture.js";
import { Trouble } from "./trouble.js";

const MANIFEST = "manifest.json";
const OPERATING = "operating.json";
const MOST = 16 << 20; // bytes of either
const LARGEST = 8192; // pixels a side
const LONGEST_PATH = 255;
const INTEGERS = ["int8", "uint8", "int16"];

/**
 * Open a bundle.
 *
 * @param root    URL of its folder, with a slash at the end
 * @param schemas {manifest, operating, versions: {manifest, operating}}: JSON schemas, made of the Python package's records
 * @returns {manifest, operating: set -> defaults and points, read(artifact, onBytes)}
 */
export async function openBundle(root, schemas) {
  const json = async (file) => {
    const bytes = await fetchBytes(new URL(file, root), MOST);
    try {
      return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    } catch {
      throw new Trouble("not_json", { file });
    }
  };
  const stated = checkedManifest(await json(MANIFEST), schemas);
  const { sets: operating, default_set: first } = checkedOperating(await json(OPERATING), stated, schemas);
  const isFirst = (set) => setName(set) === first;
  const sets = [...stated.sets.filter(isFirst), ...stated.sets.filter((set) => !isFirst(set))];
  const manifest = { ...stated, sets };
  const read = (artifact, onBytes) => fetchChecked(new URL(addressOf(artifact.file), root), artifact, onBytes);
  return { manifest, operating, read };
}

/** Return the manifest with what has a default filled in; throws Trouble: schema_version, malformed. */
export function checkedManifest(raw, { manifest: schema, versions }) {
  check(raw, MANIFEST, schema, versions.manifest);
  const manifest = withDefaults(raw, schema, schema);
  const problem = inconsistency(manifest);
  if (problem) throw new Trouble("malformed", { file: MANIFEST, problem });
  return manifest;
}

function checkedOperating(raw, manifest, { operating: schema, versions }) {
  check(raw, OPERATING, schema, versions.operating);
  const names = manifest.sets.map(setName);
  const found = Object.keys(raw.sets);
  if (found.length !== names.length || names.some((name) => !found.includes(name)))
    throw new Trouble("malformed", { file: OPERATING, problem: `it is of the sets ${found.join(", ")}` });
  for (const [name, { default_max_experts: most }] of Object.entries(raw.sets))
    if (most > manifest.experts || (manifest.experts && !most))
      throw new Trouble("malformed", { file: OPERATING, problem: `${name} has the default max_experts ${most}` });
  if (raw.default_set && !names.includes(raw.default_set))
    throw new Trouble("malformed", { file: OPERATING, problem: `its default set is ${raw.default_set}` });
  return raw;
}

/** backend/recipe of a set. */
export const setName = (set) => `${set.backend}/${set.recipe.name}`;

function check(raw, file, schema, version) {
  const found = raw !== null && typeof raw === "object" ? raw.schema_version : undefined;
  if (found !== version) throw new Trouble("schema_version", { file, found: String(found ?? null), expected: version });
  const result = new Validator(schema, "2020-12", true).validate(raw);
  if (!result.valid) {
    const deepest = result.errors.at(-1);
    throw new Trouble("malformed", { file, problem: `${deepest.instanceLocation}: ${deepest.error}` });
  }
}

/** Return a copy of `value` in which every field that has a default in the schema is there. */
function withDefaults(value, schema, root) {
  if (schema.$ref) return withDefaults(value, root.$defs[schema.$ref.split("/").at(-1)], root);
  if (Array.isArray(value))
    return value.map((one) => (schema.items && schema.items !== true ? withDefaults(one, schema.items, root) : one));
  if (value === null || typeof value !== "object" || !(schema.properties || schema.additionalProperties)) return value;
  const found = {};
  for (const [name, field] of Object.entries(schema.properties ?? {})) if ("default" in field) found[name] = field.default;
  for (const [name, one] of Object.entries(value)) {
    const field = schema.properties?.[name] ?? schema.additionalProperties;
    found[name] = field && field !== true ? withDefaults(one, field, root) : one;
  }
  return found;
}

/** What the schema alone cannot rule out, in words: edge_moe/soundness.py. */
function inconsistency(manifest) {
  const { parts, sets, labels, preprocessing, experts } = manifest;
  // Counted first: the names of a number of experts that nothing else bears out are not made.
  if (Object.keys(parts).length !== (experts ? experts + 2 : 1)) return "its parts are not those of its experts";
  const expected = partNames(experts);
  if (Object.keys(parts).join() !== expected.join()) return "its parts are not those of its experts";
  if (!sets.length) return "it has no artifacts";
  if (!labels.length) return "it has no labels";
  for (const [name, spec] of Object.entries(parts)) {
    const width = name === "gate" ? experts : labels.length;
    const logits = spec.outputs.find((one) => one.name === "logits");
    if (String(logits?.shape) !== String([1, width])) return `${name} has not ${width} logits`;
  }
  const image = [1, ...sides(preprocessing.image_size), 3];
  if (Math.max(...image) > LARGEST || Math.max(...sides(preprocessing.resize)) > 8 * LARGEST) return "its images are huge";
  if (parts.base.inputs.map((one) => String(one.shape)).join(";") !== String(image))
    return "its images are not of the size that the base takes";
  if (tooSmall(preprocessing)) return "its images would be resized to less than the crop";
  if (!preprocessing.std.every((value) => value > 0)) return "its preprocessing divides by a std that is not above 0";
  if (new Set(sets.map(setName)).size < sets.length) return "two of its sets have the same name";
  for (const set of sets) {
    const problem = ofSet(manifest, set, expected);
    if (problem) return `${setName(set)} ${problem}`;
  }
  const leaving = files(manifest).find(({ file }) => !isInside(file));
  return leaving ? `the path ${JSON.stringify(leaving.file)} leaves the bundle` : null;
}

function tooSmall({ resize, image_size: crop }) {
  const [height, width] = sides(crop);
  return Array.isArray(resize) ? resize[0] < height || resize[1] < width : resize < Math.max(height, width);
}

/** A stored size -> [height, width] in pixels. */
export const sides = (size) => (Array.isArray(size) ? size : [size, size]);

function ofSet(manifest, set, expected) {
  if (Object.keys(set.parts).sort().join() !== [...expected].sort().join()) return "has not an artifact for each part";
  if (!Object.keys(set.made_from).every((name) => name in set.parts)) return "says what others were made from";
  for (const [name, part] of Object.entries(set.parts))
    for (const what of ["inputs", "outputs"]) {
      const specs = new Map(manifest.parts[name][what].map((one) => [one.name, one]));
      const names = (tensors) => tensors.map((one) => one.name).sort().join();
      if (names(part[what]) !== names(manifest.parts[name][what])) return `has other ${what} of ${name}`;
      const wrong = part[what].find((one) => unlike(one, specs.get(one.name), set.runs_on?.npu));
      if (wrong) return `has ${wrong.name} of ${name} in another shape or type`;
    }
  const { samples } = set.golden;
  if (new Set(samples.map((one) => one.role)).size < samples.length) return "has two golden samples of the same role";
  for (const { max_experts: most, label, experts } of samples) {
    if (most > manifest.experts || (manifest.experts && !most)) return "has a golden max_experts that cannot be";
    if (label >= manifest.labels.length) return "has a golden label that does not exist";
    if (experts.some((k) => k >= manifest.experts)) return "has a golden expert that does not exist";
  }
  return null;
}

/** A graph for an NPU may have integers at its ends, of which it is known what they mean. */
function unlike({ shape, layout, dtype, scale }, spec, npu) {
  const [batch, height, width, channels] = spec.shape;
  const turned = ["NCHW", "NHWC_in_NCHW"].includes(layout) && spec.shape.length === 4;
  if (String(shape) !== String(turned ? [batch, channels, height, width] : spec.shape)) return true;
  const rounded = (npu ?? null) !== null && INTEGERS.includes(dtype) && (scale ?? null) !== null;
  return dtype !== spec.dtype && !rounded;
}

function files({ sets, golden, network }) {
  const shared = [golden.tensors, ...Object.values(golden.images), golden.vectors, ...(network ? [network] : [])];
  return [...sets.flatMap((set) => [...Object.values(set.parts), set.golden.file]), ...shared];
}

const isInside = (file) =>
  file.length <= LONGEST_PATH && !/^\/|[\\:\0]/.test(file) && !file.split("/").includes("..");

