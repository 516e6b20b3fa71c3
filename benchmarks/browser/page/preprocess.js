// Image file -> input tensor: edge_moe/preprocess.py in another language.

import { sides } from "./bundle.js";
import { resize } from "./resize.js";
import { Trouble } from "./trouble.js";

const MOST_BYTES = 256 << 20; // of a file; more is no photograph

/**
 * Decode an image file -> {data: RGBA bytes, width, height}, upright (EXIF), transparent pixels on white, its pixels as
 * the file has them: colours are not converted to those of the screen.
 *
 * Throws Trouble: undecodable.
 */
export async function decode(blob) {
  if (blob.size > MOST_BYTES) throw new Trouble("undecodable");
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", imageOrientation: "from-image" });
  } catch {
    throw new Trouble("undecodable");
  }
  const { width, height } = bitmap;
  try {
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    context.drawImage(bitmap, 0, 0);
    return { data: context.getImageData(0, 0, width, height).data, width, height };
  } catch {
    throw new Trouble("too_large", { width, height }); // than this browser's canvas
  } finally {
    bitmap.close();
  }
}

/** Resize with antialiasing and cut out the centre -> RGB bytes, [H][W][3]. `spec`: the manifest's preprocessing. */
export function resizeCrop(image, spec) {
  const { width, height } = image;
  let [newHeight, newWidth] = sides(spec.resize);
  if (!Array.isArray(spec.resize)) {
    const short = Math.min(width, height);
    if (width !== short) newWidth = Math.trunc((spec.resize * width) / short);
    if (height !== short) newHeight = Math.trunc((spec.resize * height) / short);
  }
  const [cropHeight, cropWidth] = sides(spec.image_size);
  const [left, top] = [halfToEven((newWidth - cropWidth) / 2), halfToEven((newHeight - cropHeight) / 2)];
  const [across, down] = [width / newWidth, height / newHeight]; // source pixels a resized pixel
  const box = [
    left * across,
    top * down,
    Math.min((left + cropWidth) * across, width),
    Math.min((top + cropHeight) * down, height),
  ];
  return resize(image, { width: cropWidth, height: cropHeight }, spec.interpolation, box);
}

/** Round to the nearest whole number, of two the even one, as Python does. */
function halfToEven(value) {
  const floor = Math.floor(value);
  return value - floor === 0.5 ? floor + (floor % 2) : Math.round(value);
}

/** RGB bytes -> float32 (pixel / 255 - mean) / std, in single precision throughout. */
export function normalize(pixels, { mean, std }) {
  const tables = mean.map((value, channel) => {
    const [middle, spread] = [Math.fround(value), Math.fround(std[channel])];
    return Float32Array.from({ length: 256 }, (_, pixel) =>
      Math.fround(Math.fround(Math.fround(pixel / 255) - middle) / spread));
  });
  return Float32Array.from(pixels, (pixel, i) => tables[i % 3][pixel]);
}

/** Image file -> the input tensor's floats, [1][H][W][3]. Throws as `decode`. */
export const prepare = async (blob, spec) => normalize(resizeCrop(await decode(blob), spec), spec);
