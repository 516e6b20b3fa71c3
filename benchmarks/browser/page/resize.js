// Resizing as edge_moe/preprocess.py has Pillow do it (Resample.c, 8 bits a channel), to the last bit: a canvas resizes in
// another way on every browser, and other pixels are other answers. Pixels are RGBA in and RGB out.

const PRECISION = 22; // bits of a weight
const HALF = 1 << (PRECISION - 1);

const FILTERS = {
  bilinear: { support: 1, at: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: { support: 2, at: cubic },
};

function cubic(x) {
  const a = -0.5;
  const d = Math.abs(x);
  if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
}

/**
 * Cut `box` out of an image and resize it.
 *
 * @param image  {data: RGBA bytes, width, height}
 * @param size   {width, height} of the result
 * @param method nearest, bilinear or bicubic
 * @param box    [left, top, right, bottom] in pixels of the image, fractions allowed
 * @returns RGB bytes, [height][width][3]
 */
export function resize(image, size, method, box) {
  const [left, top, right, bottom] = box;
  if (method === "nearest") return nearest(image, size, box.map(Math.fround)); // Pillow's boxes have single precision
  const filter = FILTERS[method];
  const reach = filter.support * Math.max((bottom - top) / size.height, 1) + 1;
  const first = Math.max(0, Math.trunc(top - reach));
  const count = Math.min(image.height, Math.ceil(bottom + reach)) - first; // rows that are read
  const columns = weights(image.width, Math.fround(left), Math.fround(right), size.width, filter);
  const rows = weights(count, Math.fround(top - first), Math.fround(bottom - first), size.height, filter);
  const across = new Uint8ClampedArray(count * size.width * 3); // each pass rounds: across first, then down
  for (let y = 0; y < count; y++)
    columns.forEach(({ from, by }, x) => {
      const start = ((y + first) * image.width + from) * 4;
      sum(image.data, start, 4, by, across, (y * size.width + x) * 3);
    });
  const found = new Uint8ClampedArray(size.height * size.width * 3);
  rows.forEach(({ from, by }, y) => {
    for (let x = 0; x < size.width; x++)
      sum(across, (from * size.width + x) * 3, size.width * 3, by, found, (y * size.width + x) * 3);
  });
  return found;
}

function sum(data, start, step, by, into, place) {
  let [red, green, blue] = [HALF, HALF, HALF];
  for (let i = 0, at = start; i < by.length; i++, at += step) {
    red += data[at] * by[i];
    green += data[at + 1] * by[i];
    blue += data[at + 2] * by[i];
  }
  into[place] = red >> PRECISION;
  into[place + 1] = green >> PRECISION;
  into[place + 2] = blue >> PRECISION;
}

/** For each of `count` results: where its source pixels begin, and the weight of each in 1 / 2 ** PRECISION. */
function weights(length, start, end, count, filter) {
  const scale = Math.fround(end - start) / count;
  const stretch = Math.max(scale, 1); // a result that covers several pixels is their mean
  const support = filter.support * stretch;
  return Array.from({ length: count }, (_, i) => {
    const centre = start + (i + 0.5) * scale;
    const from = Math.max(0, Math.trunc(centre - support + 0.5));
    const to = Math.min(length, Math.trunc(centre + support + 0.5));
    const raw = Array.from({ length: to - from }, (_, j) => filter.at((j + from - centre + 0.5) * (1 / stretch)));
    const total = raw.reduce((all, weight) => all + weight, 0) || 1;
    const by = Int32Array.from(raw, (weight) => {
      const whole = (weight / total) * (1 << PRECISION);
      return Math.trunc(whole < 0 ? whole - 0.5 : whole + 0.5);
    });
    return { from, by };
  });
}

function nearest(image, size, [left, top, right, bottom]) {
  const places = (start, end, count) => {
    const step = Math.fround(end - start) / count;
    let at = start + step * 0.5;
    return Array.from({ length: count }, () => {
      const place = Math.trunc(at);
      at += step; // added up, as Pillow does, and not multiplied
      return place;
    });
  };
  const [columns, rows] = [places(left, right, size.width), places(top, bottom, size.height)];
  const found = new Uint8ClampedArray(size.height * size.width * 3);
  let place = 0;
  for (const row of rows)
    for (const column of columns) {
      const at = (row * image.width + column) * 4;
      for (let channel = 0; channel < 3; channel++) found[place++] = image.data[at + channel];
    }
  return found;
}
