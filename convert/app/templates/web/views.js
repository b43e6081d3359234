// What a model reads of a photo: resize, centre crop and fragments as Pillow and mobileiqa.preprocess make them, bit for
// bit. A photo is {width, height, read(left, top, width, height) -> RGBA bytes}: it is read in parts, so that one of any
// size takes the memory of a strip.

const PRECISION = 22; // bits of Pillow's fixed-point weights
const STRIP = 1 << 20; // pixels read at once
const SUPPORT = { bilinear: 1, bicubic: 2, lanczos: 3 };
const FILTER = {
  bilinear: (x) => (Math.abs(x) < 1 ? 1 - Math.abs(x) : 0),
  bicubic: (value) => {
    const x = Math.abs(value);
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
  },
  lanczos: (x) => (-3 <= x && x < 3 ? sinc(x) * sinc(x / 3) : 0),
};

function sinc(x) {
  return x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
}

// Of each output: the first input that it reads, how many, and their weights.
function weights(input, output, filter) {
  const scale = input / output;
  const stretch = Math.max(scale, 1);
  const support = SUPPORT[filter] * stretch;
  const size = Math.ceil(support) * 2 + 1;
  const first = new Int32Array(output), count = new Int32Array(output), values = new Int32Array(output * size);
  for (let i = 0; i < output; i++) {
    const centre = (i + 0.5) * scale;
    first[i] = Math.max(Math.trunc(centre - support + 0.5), 0);
    count[i] = Math.min(Math.trunc(centre + support + 0.5), input) - first[i];
    const raw = Array.from({ length: count[i] }, (_, j) => FILTER[filter]((j + first[i] - centre + 0.5) * (1 / stretch)));
    const total = raw.reduce((a, b) => a + b, 0);
    raw.forEach((each, j) => {
      const exact = (total ? each / total : each) * (1 << PRECISION);
      values[i * size + j] = Math.trunc(exact < 0 ? exact - 0.5 : exact + 0.5);
    });
  }
  return { first, count, values, size };
}

const clipped = (sum) => Math.min(Math.max(sum >> PRECISION, 0), 255);
const HALF = 1 << (PRECISION - 1);

// RGB bytes of the whole photo at another size. Pillow 13 shrinks what is much too tall along its height first.
export function resize(photo, width, height, filter) {
  const w = photo.width === width ? null : weights(photo.width, width, filter);
  const h = photo.height === height ? null : weights(photo.height, height, filter);
  const shrinks = photo.height - height;
  if (w && h && shrinks > 0 && shrinks > 2 * (photo.width - width)) {
    const wide = new Uint8Array(height * photo.width * 3), out = new Uint8Array(height * width * 3);
    downPhoto(photo, height, h, wide);
    for (let y = 0; y < height; y++) across(wide, 3, y * photo.width, out, y * width, width, w);
    return out;
  }
  const rows = new Uint8Array(photo.height * width * 3);
  const strip = Math.max(1, Math.floor(STRIP / photo.width));
  for (let top = 0; top < photo.height; top += strip) {
    const count = Math.min(strip, photo.height - top), pixels = photo.read(0, top, photo.width, count);
    for (let y = 0; y < count; y++) across(pixels, 4, y * photo.width, rows, (top + y) * width, width, w);
  }
  if (!h) return rows;
  const out = new Uint8Array(height * width * 3);
  for (let y = 0; y < height; y++) down(rows, 3, 0, width, out, y, h);
  return out;
}

// One row of `width` pixels, of source pixels from number `from` on; `step` bytes are a pixel of the source.
function across(source, step, from, out, to, width, w) {
  for (let x = 0; x < width; x++) {
    const at = 3 * (to + x);
    if (!w) {
      for (let c = 0; c < 3; c++) out[at + c] = source[step * (from + x) + c];
      continue;
    }
    let red = HALF, green = HALF, blue = HALF, i = step * (from + w.first[x]);
    for (let j = 0, k = x * w.size; j < w.count[x]; j++, k++, i += step) {
      red += source[i] * w.values[k];
      green += source[i + 1] * w.values[k];
      blue += source[i + 2] * w.values[k];
    }
    out[at] = clipped(red);
    out[at + 1] = clipped(green);
    out[at + 2] = clipped(blue);
  }
}

// Row y of the output, of source rows of which the first is number `top`.
function down(source, step, top, width, out, y, h) {
  const sums = new Float64Array(3 * width).fill(HALF);
  for (let j = 0; j < h.count[y]; j++) {
    const weight = h.values[y * h.size + j];
    for (let x = 0, i = step * (h.first[y] + j - top) * width; x < width; x++, i += step) {
      for (let c = 0; c < 3; c++) sums[3 * x + c] += source[i + c] * weight;
    }
  }
  for (let i = 0; i < 3 * width; i++) out[3 * y * width + i] = clipped(sums[i]);
}

// The whole photo along its height, as many rows of the output at a time as read about STRIP pixels.
function downPhoto(photo, height, h, out) {
  const end = (y) => h.first[y] + h.count[y];
  for (let y = 0, last; y < height; y = last + 1) {
    for (last = y; last + 1 < height && (end(last + 1) - h.first[y]) * photo.width <= STRIP; ) last++;
    const top = h.first[y], pixels = photo.read(0, top, photo.width, end(last) - top);
    for (let row = y; row <= last; row++) down(pixels, 4, top, photo.width, out, row, h);
  }
}

// Where each of `count` patches begins along a side of `length` pixels.
export function starts(length, count, patch) {
  return Array.from({ length: count }, (_, i) =>
    Math.min(Math.max(Math.floor(((2 * i + 1) * length) / (2 * count)) - Math.floor(patch / 2), 0), length - patch));
}

// A mosaic of patches at native scale; a photo below a patch is mirrored first.
export function fragments(photo, width, height, patch) {
  const source = mirrored(photo, Math.max(photo.width, patch), Math.max(photo.height, patch));
  const out = new Uint8Array(width * height * 3);
  const lefts = starts(source.width, width / patch, patch);
  starts(source.height, height / patch, patch).forEach((top, row) =>
    lefts.forEach((left, column) =>
      place(source.read(left, top, patch, patch), patch, patch, out, width, column * patch, row * patch)));
  return out;
}

function mirrored(photo, width, height) {
  if (width === photo.width && height === photo.height) return photo;
  const pixels = photo.read(0, 0, photo.width, photo.height);
  const at = (i, length) => (i % (2 * length) < length ? i % (2 * length) : 2 * length - 1 - (i % (2 * length)));
  const whole = new Uint8Array(width * height * 4);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = 4 * (at(y, photo.height) * photo.width + at(x, photo.width));
      whole.set(pixels.subarray(from, from + 4), 4 * (y * width + x));
    }
  }
  return ofPixels(whole, width, height);
}

// The centre at native scale; black around what is smaller.
export function centerCrop(photo, width, height) {
  const out = new Uint8Array(width * height * 3);
  const left = centred(photo.width, width), top = centred(photo.height, height);
  const across = Math.min(width, photo.width), along = Math.min(height, photo.height);
  const pixels = photo.read(Math.max(left, 0), Math.max(top, 0), across, along);
  place(pixels, across, along, out, width, Math.max(-left, 0), Math.max(-top, 0));
  return out;
}

// torchvision's two rounding rules: cutting rounds half to even.
function centred(length, window) {
  if (length < window) return -Math.floor((window - length) / 2);
  const half = (length - window) / 2, low = Math.floor(half);
  return half - low < 0.5 ? low : low + (low % 2);
}

function place(pixels, width, height, out, line, left, top) {
  for (let y = 0; y < height; y++) {
    for (let x = 0, to = ((top + y) * line + left) * 3; x < width; x++, to += 3) {
      const from = 4 * (y * width + x);
      for (let c = 0; c < 3; c++) out[to + c] = pixels[from + c];
    }
  }
}

// A part of a photo, as a photo.
export function part(photo, left, top, width, height) {
  return { width, height, read: (x, y, w, h) => photo.read(left + x, top + y, w, h) };
}

// A photo of RGBA bytes in memory.
export function ofPixels(pixels, width, height) {
  return {
    width,
    height,
    read(left, top, w, h) {
      if (left === 0 && w === width) return pixels.subarray(4 * top * width, 4 * (top + h) * width);
      const out = new Uint8Array(w * h * 4);
      for (let y = 0; y < h; y++) {
        const from = 4 * ((top + y) * width + left);
        out.set(pixels.subarray(from, from + 4 * w), 4 * y * w);
      }
      return out;
    },
  };
}

const RED_BLUE = { bt709: [0.2126, 0.0722], 'bt2020-ncl': [0.2627, 0.0593] }; // what they are of brightness; else BT.601

// A 4:2:0 frame, each chroma sample for its 2x2 pixels; planes: {bytes, stride, step}. BT.601 where it says no other.
export function ofYuv(width, height, { luma, blue, red }, { matrix, fullRange } = {}) {
  const [kr, kb] = RED_BLUE[matrix] ?? [0.299, 0.114], kg = 1 - kr - kb, limited = fullRange === false;
  const digits = (value) => Math.round(value * 1e5) / 1e5; // as JPEG writes them
  const fixed = (value, range) => Math.round(65536 * digits(value) * (limited ? 255 / range : 1));
  const l = fixed(1, 219), rv = fixed(2 * (1 - kr), 224), bu = fixed(2 * (1 - kb), 224);
  const gu = fixed((2 * (1 - kb) * kb) / kg, 224), gv = fixed((2 * (1 - kr) * kr) / kg, 224);
  const at = ({ bytes, stride, step }, x, y) => bytes[y * stride + x * step];
  const byte = (value) => Math.min(Math.max((value + 32768) >> 16, 0), 255);
  const read = (left, top, w, h) => {
    const out = new Uint8Array(4 * w * h).fill(255);
    for (let y = top, to = 0; y < top + h; y++) {
      for (let x = left; x < left + w; x++, to += 4) {
        const grey = l * (at(luma, x, y) - (limited ? 16 : 0));
        const u = at(blue, x >> 1, y >> 1) - 128, v = at(red, x >> 1, y >> 1) - 128;
        out[to] = byte(grey + rv * v);
        out[to + 1] = byte(grey - gu * u - gv * v);
        out[to + 2] = byte(grey + bu * u);
      }
    }
    return out;
  };
  return { width, height, read };
}

// The RGB bytes of one of the model's inputs.
export function fitted(photo, view) {
  if (view.fit === 'resize') return resize(photo, view.width, view.height, view.filter);
  if (view.fit === 'fragments') return fragments(photo, view.width, view.height, view.patch);
  return centerCrop(photo, view.width, view.height);
}

// RGB bytes as float32 planes, (pixel / 255 - mean) / std.
export function normalized(pixels, view) {
  const area = view.width * view.height, out = new Float32Array(3 * area);
  for (let c = 0; c < 3; c++) {
    const table = Float32Array.from({ length: 256 }, (_, v) => (v / 255 - view.mean[c]) / view.std[c]);
    for (let i = 0; i < area; i++) out[c * area + i] = table[pixels[3 * i + c]];
  }
  return out;
}

// Cells about square, 8 along the longer side; the part around a cell is two cells long and wide, inside the photo.
export function partBoxes(width, height) {
  const cell = Math.max(Math.max(width, height) / 8, 32);
  const columns = Math.max(1, even(width / cell)), rows = Math.max(1, even(height / cell));
  const across = Math.min(width, Math.ceil((2 * width) / columns));
  const along = Math.min(height, Math.ceil((2 * height) / rows));
  const begins = (length, window, count) =>
    Array.from({ length: count }, (_, i) => {
      const centre = Math.floor(((2 * i + 1) * length) / (2 * count));
      return Math.min(Math.max(centre - Math.floor(window / 2), 0), length - window);
    });
  const lefts = begins(width, across, columns), tops = begins(height, along, rows);
  return { columns, rows, list: tops.flatMap((top) => lefts.map((left) => [left, top, across, along])) };
}

function even(value) {
  const low = Math.floor(value), rest = value - low;
  return rest === 0.5 ? low + (low % 2) : Math.round(value); // as Python rounds
}

// Golden images that any language draws with integers.
const DRAW = {
  ramp: (x, y, c, w, h) => {
    const a = Math.floor((x * 255) / Math.max(w - 1, 1)), b = Math.floor((y * 255) / Math.max(h - 1, 1));
    return c === 0 ? a : c === 1 ? b : (a + b) >> 1;
  },
  tiles: (x, y, c) => ((x >> 4) * 73 + (y >> 4) * 151 + c * 37) & 255,
  noise: (x, y, c, w) => {
    let m = Math.imul((y * w + x) * 3 + c, 2654435769);
    m = Math.imul(m ^ (m >>> 15), 2246822519);
    return m >>> 24;
  },
};

export function drawn({ image, width, height }) {
  const pixels = new Uint8Array(4 * width * height);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at += 4) {
      for (let c = 0; c < 3; c++) pixels[at + c] = DRAW[image](x, y, c, width, height);
    }
  }
  return ofPixels(pixels, width, height);
}
