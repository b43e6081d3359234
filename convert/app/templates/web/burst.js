// Which photo of a burst to keep: the rule of `mobileiqa best`, whose docs say why. Photos of one scene are aligned by a
// shift and compared on what all of them show: detail that stands out of the noise, the model's score, exposure.

import { part } from './views.js';

const COARSE_PX = 400; // the longer side at which shifts are looked for first
const FINE_PX = 256; // side of the windows in which they are found to the pixel
const SAME_SCENE = 0.7; // correlation of reduced brightness, aligned
const WINDOW_PX = 32; // of detail
const FLATTEST = 0.05; // of the windows: what varies there is noise
const UNSEEN = 4; // variance, in grey levels squared, that nobody sees
const CLIPPED = 250, SHADOW = 16; // grey levels from which on, and below which, noise is cut off
const SCORE_BITS = 2; // what the whole range of the model's score weighs beside detail
const STOP_BITS = 2; // what a stop from the median weighs
const DISPLAY = 2.2; // brightness is about the power of this of a grey level
const STRIP = 1 << 20; // pixels read at once
const PLACES = [0.3, 0.5, 0.7]; // of the fine windows, along each side

const sum = (values) => values.reduce((a, b) => a + b, 0);
const log2 = Math.log2;

// The photos of one scene, the best first, and why others are left out. `opened`: for each photo a function that gives
// it, as views.js has photos; `score(photo)`: {score, reasons}; `range`: of the score, negative where less is better.
// A photo is opened twice and closed each time: one is in memory at once, and a byte a pixel of all.
export async function rank(opened, score, range) {
  const leftOut = {}, greys = [];
  for (const [index, open] of opened.entries()) {
    try {
      greys.push({ index, ...(await using(open, greyOf)) });
    } catch (error) {
      leftOut[index] = `not read: ${error.message ?? error}`;
    }
  }
  const same = ofOneSize(greys, leftOut), shifts = oneScene(same);
  same.forEach(({ index }, i) => shifts[i] ?? (leftOut[index] = 'of another scene'));
  const burst = same.map((grey, i) => ({ ...grey, shift: shifts[i] })).filter((each) => each.shift);
  const box = burst.length ? commonPart(burst.map((each) => each.shift), burst[0]) : null;
  if (burst.length < 2 || Math.min(box.width, box.height) < 3 * WINDOW_PX) {
    const reasons = Object.entries(leftOut).map(([index, reason]) => `${index}: ${reason}`).join('; ');
    throw new Error(`expected two or more photos of one scene; found ${reasons || burst.length}`);
  }
  const measures = await measured(burst, box, opened, score);
  return { ...ranked(measures, range), leftOut };
}

async function using(open, use) {
  const photo = await open();
  try {
    return await use(photo);
  } finally {
    photo.close?.();
  }
}

// Brightness of a photo, as Pillow's mode L has it.
export function greyOf({ width, height, read }) {
  const pixels = new Uint8Array(width * height), rows = Math.max(1, Math.floor(STRIP / width));
  for (let top = 0; top < height; top += rows) {
    const rgba = read(0, top, width, Math.min(rows, height - top));
    for (let i = 0, to = top * width; i < rgba.length; i += 4, to++) {
      pixels[to] = (rgba[i] * 19595 + rgba[i + 1] * 38470 + rgba[i + 2] * 7471 + 0x8000) >> 16;
    }
  }
  return { width, height, pixels };
}

// Those of the commonest size, the widest of several.
function ofOneSize(greys, leftOut) {
  const count = ({ width, height }) => greys.filter((each) => each.width === width && each.height === height).length;
  const order = (a, b) => count(b) - count(a) || b.width - a.width || b.height - a.height;
  const [size] = [...greys].sort(order);
  return greys.filter((each) => {
    const same = each.width === size.width && each.height === size.height;
    if (!same) leftOut[each.index] = `of another size (${each.width}x${each.height})`;
    return same;
  });
}

// Shifts against the first photo that at least half of the others match; null for those that do not match it.
function oneScene(greys) {
  let best = [];
  const matches = (shifts) => shifts.filter(Boolean).length;
  for (const first of greys) {
    const shifts = greys.map((grey) => {
      const { shift, correlation } = grey === first ? { shift: [0, 0], correlation: 1 } : align(first, grey);
      return correlation >= SAME_SCENE ? shift : null;
    });
    if (matches(shifts) > matches(best)) best = shifts;
    if (2 * (best.length - matches(best)) <= best.length) break;
  }
  return best;
}

// The shift of the second photo to the pixel, and how well its brightness then correlates with that of the first.
export function align(first, second) {
  const small = reduced(first), other = reduced(second), { side } = small;
  const coarse = shiftBetween(small, other), correlation = correlated(small, other, coarse);
  const start = coarse.map((value) => value * side);
  if (Math.min(first.width, first.height) <= FINE_PX || side === 1) return { shift: start, correlation };
  const fine = PLACES.flatMap((across) => PLACES.map((down) => fineShift(first, second, start, across, down)));
  return { shift: [0, 1].map((i) => fine.map((each) => each[i]).sort((a, b) => a - b)[4]), correlation };
}

// Means of squares, so that the longer side is about COARSE_PX.
function reduced({ width, height, pixels }) {
  const side = Math.max(1, Math.floor(Math.max(width, height) / COARSE_PX));
  const w = Math.floor(width / side), h = Math.floor(height / side), values = new Float64Array(w * h);
  for (let y = 0; y < h * side; y++) {
    for (let x = 0; x < w * side; x++) values[Math.floor(y / side) * w + Math.floor(x / side)] += pixels[y * width + x];
  }
  return { width: w, height: h, side, pixels: values.map((value) => value / side ** 2) };
}

function fineShift(first, second, start, across, down) {
  const inside = (value, length) => Math.min(Math.max(value, 0), length - FINE_PX);
  const left = Math.floor(across * (first.width - FINE_PX)), top = Math.floor(down * (first.height - FINE_PX));
  const x = inside(left + start[0], first.width), y = inside(top + start[1], first.height);
  const [right, along] = shiftBetween(cut(first, left, top, FINE_PX, FINE_PX), cut(second, x, y, FINE_PX, FINE_PX));
  return [right + x - left, along + y - top];
}

function cut({ width, pixels }, left, top, w, h) {
  const out = new pixels.constructor(w * h);
  for (let y = 0; y < h; y++) out.set(pixels.subarray((top + y) * width + left, (top + y) * width + left + w), y * w);
  return { width: w, height: h, pixels: out };
}

// [right, down] by which the content of the second lies off that of the first: phase correlation. Both are transformed
// at once, as real and imaginary part.
export function shiftBetween(first, second) {
  const { width, height } = first, re = windowed(first), im = windowed(second);
  transform(re, im, width, height);
  const real = new Float64Array(re.length), imaginary = new Float64Array(re.length), size = new Float64Array(re.length);
  let total = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const i = y * width + x, j = ((height - y) % height) * width + ((width - x) % width);
      const a = (re[i] + re[j]) / 2, b = (im[i] - im[j]) / 2, c = (im[i] + im[j]) / 2, d = (re[j] - re[i]) / 2;
      real[i] = a * c + b * d;
      imaginary[i] = a * d - b * c;
      size[i] = Math.sqrt(real[i] ** 2 + imaginary[i] ** 2);
      if (x <= width >> 1) total += size[i];
    }
  }
  const floor = (1e-3 * total) / (height * ((width >> 1) + 1)) + 1e-12;
  size.forEach((value, i) => {
    real[i] /= value + floor;
    imaginary[i] /= value + floor;
  });
  transform(imaginary, real, width, height); // parts exchanged: the inverse
  const peak = real.reduce((best, value, i) => (value > real[best] ? i : best), 0);
  const centred = (value, length) => ((value + (length >> 1)) % length) - (length >> 1);
  return [centred(peak % width, width), centred(Math.floor(peak / width), height)];
}

function windowed({ width, height, pixels }) {
  const mean = sum(pixels) / pixels.length;
  const hann = (n) => Float64Array.from({ length: n }, (_, i) => (n === 1 ? 1 : 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / (n - 1))));
  const across = hann(width), down = hann(height);
  return Float64Array.from(pixels, (value, i) => (value - mean) * across[i % width] * down[Math.floor(i / width)]);
}

// Fourier transform of an image of complex values, in place.
function transform(re, im, width, height) {
  for (let y = 0; y < height; y++) line(re, im, y * width, 1, width);
  for (let x = 0; x < width; x++) line(re, im, x, width, height);
}

function line(re, im, from, step, length) {
  const root = roots(length), outRe = new Float64Array(length), outIm = new Float64Array(length);
  fourier({ re, im, outRe, outIm, ...root }, from, step, length, 0);
  for (let i = 0; i < length; i++) {
    re[from + step * i] = outRe[i];
    im[from + step * i] = outIm[i];
  }
}

const ROOTS = new Map();
function roots(length) {
  if (!ROOTS.has(length)) {
    const of = (f) => Float64Array.from({ length }, (_, i) => f((-2 * Math.PI * i) / length));
    ROOTS.set(length, { length, cos: of(Math.cos), sin: of(Math.sin) });
  }
  return ROOTS.get(length);
}

// Of `n` values to out[at...], by the smallest prime factor of n: any length.
function fourier(job, from, step, n, at) {
  const { re, im, outRe, outIm, length, cos, sin } = job;
  if (n === 1) {
    outRe[at] = re[from];
    outIm[at] = im[from];
    return;
  }
  let p = 2;
  while (n % p) p++;
  const m = n / p, stride = length / n;
  for (let r = 0; r < p; r++) fourier(job, from + r * step, step * p, m, at + r * m);
  if (p > 2) return combine(job, p, m, stride, at);
  for (let k = 0, a = at, b = at + m, i = 0; k < m; k++, a++, b++, i += stride) {
    const x = outRe[b] * cos[i] - outIm[b] * sin[i], y = outRe[b] * sin[i] + outIm[b] * cos[i];
    outRe[b] = outRe[a] - x;
    outIm[b] = outIm[a] - y;
    outRe[a] += x;
    outIm[a] += y;
  }
}

function combine({ outRe, outIm, length, cos, sin }, p, m, stride, at) {
  const a = new Float64Array(p), b = new Float64Array(p);
  for (let k = 0; k < m; k++) {
    for (let r = 0; r < p; r++) {
      a[r] = outRe[at + r * m + k];
      b[r] = outIm[at + r * m + k];
    }
    for (let q = 0; q < p; q++) {
      let x = 0, y = 0;
      for (let r = 0, i = 0, next = (k + q * m) * stride; r < p; r++, i = (i + next) % length) {
        x += a[r] * cos[i] - b[r] * sin[i];
        y += a[r] * sin[i] + b[r] * cos[i];
      }
      outRe[at + q * m + k] = x;
      outIm[at + q * m + k] = y;
    }
  }
}

// Of what both show; 0 where that is less than a quarter.
function correlated(first, second, shift) {
  const box = commonPart([[0, 0], shift], first);
  if (box.width <= 0 || box.height <= 0 || box.width * box.height < (first.width * first.height) / 4) return 0;
  const a = cut(first, box.left, box.top, box.width, box.height).pixels;
  const b = cut(second, box.left + shift[0], box.top + shift[1], box.width, box.height).pixels;
  const meanA = sum(a) / a.length, meanB = sum(b) / b.length;
  let ab = 0, aa = 0, bb = 0;
  a.forEach((value, i) => {
    ab += (value - meanA) * (b[i] - meanB);
    aa += (value - meanA) ** 2;
    bb += (b[i] - meanB) ** 2;
  });
  return aa && bb ? ab / Math.sqrt(aa * bb) : 0;
}

// What photos of one size all show, in the first photo's pixels.
export function commonPart(shifts, { width, height }) {
  const across = [0, ...shifts.map((each) => each[0])], down = [0, ...shifts.map((each) => each[1])];
  const left = -Math.min(...across), top = -Math.min(...down);
  return { left, top, width: width - Math.max(...across) - left, height: height - Math.max(...down) - top };
}

async function measured(burst, { left, top, width, height }, opened, score) {
  const parts = burst.map(({ shift, ...grey }) => cut(grey, left + shift[0], top + shift[1], width, height));
  const detail = detailAndNoise(parts);
  const stops = parts.map(({ pixels }) => DISPLAY * log2(Math.max(sum(pixels) / pixels.length, 1)));
  const measures = [];
  for (const [i, { index, shift }] of burst.entries()) {
    const crop = (photo) => score(part(photo, left + shift[0], top + shift[1], width, height));
    const scored = await using(opened[index], crop);
    measures.push({ index, shift, ...detail[i], stops: stops[i] - median(stops), ...scored });
  }
  return measures;
}

// Detail in bits, and noise as a deviation in grey levels, of aligned parts of one shape.
export function detailAndNoise(parts) {
  const all = parts.map(windows), every = all[0].means.map((_, i) => all.every(({ means }) => means[i] > SHADOW && means[i] < CLIPPED));
  const usable = every.filter(Boolean).length >= 20 ? every : every.map(() => true);
  return all.map(({ energies }) => {
    const noise = percentile(energies.filter((_, i) => usable[i]), FLATTEST);
    const bits = energies.map((energy) => log2(1 + Math.max(energy - noise, 0) / (noise + UNSEEN)));
    return { detail: sum(bits) / bits.length, noise: Math.sqrt(noise / 20) }; // 20: the filter's own gain of white noise
  });
}

// Of each window: the mean square of the Laplacian, and the mean grey level.
function windows({ width, height, pixels }) {
  const columns = Math.floor(width / WINDOW_PX), rows = Math.floor(height / WINDOW_PX), area = WINDOW_PX ** 2;
  const energies = new Array(columns * rows).fill(0), means = new Array(columns * rows).fill(0);
  for (let y = 0; y < rows * WINDOW_PX; y++) {
    for (let x = 0; x < columns * WINDOW_PX; x++) {
      const i = y * width + x, window = Math.floor(y / WINDOW_PX) * columns + Math.floor(x / WINDOW_PX);
      means[window] += pixels[i] / area;
      if (x === 0 || y === 0 || x === width - 1 || y === height - 1) continue;
      const edge = 4 * pixels[i] - pixels[i - width] - pixels[i + width] - pixels[i - 1] - pixels[i + 1];
      energies[window] += edge ** 2 / area;
    }
  }
  return { energies, means };
}

function percentile(values, share) {
  const sorted = [...values].sort((a, b) => a - b), place = share * (sorted.length - 1), low = Math.floor(place);
  return sorted[low] + (place - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
}

const median = (values) => percentile(values, 0.5);

function ranked(measures, range) {
  const away = (measure) => STOP_BITS * Math.abs(measure.stops), points = (measure) => (SCORE_BITS * measure.score) / range;
  const worth = (measure) => measure.detail + points(measure) - away(measure);
  const best = measures.reduce((a, b) => (worth(b) > worth(a) ? b : a));
  const why = (measure) => {
    const softer = measure.noise > 1.2 * best.noise + 0.2 ? 'noisier' : 'softer';
    const lacks = {
      [softer]: best.detail - measure.detail,
      [measure.stops > best.stops ? 'brighter' : 'darker']: away(measure) - away(best),
      'lower score': points(best) - points(measure),
    };
    return Object.keys(lacks).reduce((a, b) => (lacks[b] > lacks[a] ? b : a));
  };
  const total = sum(measures.map(worth)), others = measures.length - 1;
  const rows = measures.map((measure) => ({
    ...measure,
    margin: worth(measure) - (total - worth(measure)) / others,
    why: measure === best ? '' : why(measure),
  }));
  return { best: best.index, ranked: rows.sort((a, b) => b.margin - a.margin) };
}
