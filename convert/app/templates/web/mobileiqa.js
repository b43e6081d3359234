// Scores a photo in a browser, with LiteRT in WebAssembly, or on the GPU where the golden photos pass there.
//
//   import { Scorer } from './mobileiqa.js';
//   const scorer = await Scorer.load();
//   const { score, label, reasons } = await scorer.score(file); // a File, Blob, ImageBitmap or VideoFrame of any size
//
// Nothing leaves the page, and nothing is fetched from anywhere but this folder.

import { loadAndCompile, loadLiteRt, Tensor } from './litert/index.js';
import { rank } from './burst.js';
import { drawn, fitted, normalized, ofYuv, part, partBoxes } from './views.js';

const HERE = new URL('./', import.meta.url);
const LABELS = ['bad', 'poor', 'fair', 'good', 'excellent'];

export class Scorer {
  // Loads the model and chooses the accelerator: WebGPU only where every golden photo passes on it. `accelerator`:
  // 'wasm' or 'webgpu' in place of that. `install`: remember the choice in this browser. Throws where the model's bytes
  // are not those that were converted, or where WebAssembly, too, fails the self-test.
  static async load({ accelerator = 'auto', install = true } = {}) {
    const facts = await (await got('model.json')).json();
    const bytes = new Uint8Array(await (await got(facts.file)).arrayBuffer());
    if ((await sha256(bytes)) !== facts.sha256) throw new Error(`${facts.file} is damaged: its SHA-256 is another`);
    runtime ??= loadLiteRt(new URL('litert/wasm/', HERE).href);
    await runtime;
    const scorer = new Scorer(facts, bytes);
    const key = `mobileiqa ${facts.sha256} ${navigator.userAgent}`;
    install &&= accelerator === 'auto';
    if (install && (await scorer.#resume(remembered(key)))) return scorer;
    await scorer.#choose(accelerator);
    if (install) remember(key, scorer.accelerator);
    return scorer;
  }

  constructor(facts, bytes) {
    this.facts = facts;
    this.bytes = bytes;
    this.model = null;
    this.accelerator = { runsOn: 'wasm', whyNot: '' };
  }

  async #compile(accelerator) {
    this.model?.delete();
    this.model = null;
    this.model = await loadAndCompile(this.bytes, { accelerator, gpuOptions: { precision: 'fp32' } });
  }

  // Takes what passed the self-test here before; false where there is nothing, or it does not compile any more.
  async #resume(accelerator) {
    if (!['wasm', 'webgpu'].includes(accelerator?.runsOn)) return false;
    try {
      await this.#compile(accelerator.runsOn);
    } catch {
      return false;
    }
    this.accelerator = accelerator;
    return true;
  }

  async #choose(wanted) {
    const whyNot = wanted === 'wasm' ? 'it was not asked for' : await this.#gpuFails();
    if (!whyNot) {
      this.accelerator = { runsOn: 'webgpu', whyNot: '' };
      return;
    }
    if (wanted === 'webgpu') throw new Error(`WebGPU: ${whyNot}`);
    await this.#compile('wasm');
    this.accelerator = { runsOn: 'wasm', whyNot };
    const wrong = (await this.selfTest()).filter((check) => !check.passed);
    if (wrong.length) throw new Error(`the self-test fails: ${wrong[0].name}: ${wrong[0].result}`);
  }

  // Why the GPU does not serve; empty where it does.
  async #gpuFails() {
    if (this.facts.gpu_refused) return this.facts.gpu_refused;
    if (!navigator.gpu || !(await navigator.gpu.requestAdapter())) return 'this browser has no WebGPU adapter';
    try {
      await this.#compile('webgpu');
      if (!this.model.isFullyAccelerated) return 'some operators were left to the CPU';
      const wrong = (await this.selfTest()).filter((check) => !check.passed);
      return wrong.map((check) => `${check.name}: ${check.result}`).join('; ');
    } catch (error) {
      return `${error.message ?? error}`.split('\n')[0];
    }
  }

  // {score, label, reasons, width, height}; reasons: name -> probability, the likeliest first.
  async score(source) {
    const photo = await decode(source);
    try {
      return { ...(await this.scorePhoto(photo)), width: photo.width, height: photo.height };
    } finally {
      photo.close?.();
    }
  }

  // The same of what views.js calls a photo.
  async scorePhoto(photo) {
    const [score, ...probabilities] = await this.outputs(photo);
    if (!Number.isFinite(score)) throw new Error('the model gave a score that is no number');
    const named = this.facts.reasons.map((name, i) => [name, probabilities[i]]);
    return { score, label: this.label(score), reasons: Object.fromEntries(named.sort((a, b) => b[1] - a[1])) };
  }

  label(score) {
    return LABELS[Math.min(Math.max(Math.floor(this.share(score) * 5), 0), 4)];
  }

  // 0 for the worst score of the range, 1 for the best.
  share(score) {
    const share = (score - this.facts.low) / (this.facts.high - this.facts.low);
    return this.facts.higher_is_better ? share : 1 - share;
  }

  // The score, then the probabilities of the reasons.
  async outputs(photo) {
    const inputs = {}, made = [], onGpu = this.model.options.accelerator === 'webgpu';
    for (const view of this.facts.views) {
      const pixels = fitted(photo, view), bytes = this.facts.takes_bytes;
      const shape = bytes ? [1, view.height, view.width, 3] : [1, 3, view.height, view.width];
      const tensor = new Tensor(bytes ? pixels : normalized(pixels, view), shape);
      made.push(tensor);
      inputs[view.name] = onGpu ? await tensor.moveTo('webgpu') : tensor;
    }
    const results = await this.model.run(inputs);
    const values = {};
    for (const [name, tensor] of Object.entries(results)) {
      values[name] = [...(await tensor.data())];
      tensor.delete();
    }
    for (const tensor of [...made, ...Object.values(inputs)]) if (!tensor.deleted) tensor.delete();
    return [...values.score, ...(values.reasons ?? [])];
  }

  // Which photo of a burst to keep: {best, ranked, leftOut}, photos by their place in `sources`, as `mobileiqa best` has
  // them; leftOut: place -> why. `ranked`: the best first, each {index, margin, shift, detail, noise, stops, score,
  // reasons, why}. Each photo is decoded twice. Throws where fewer than two photos show one scene.
  async best(sources) {
    const range = (this.facts.high - this.facts.low) * (this.facts.higher_is_better ? 1 : -1);
    return rank(sources.map((source) => () => decode(source)), (photo) => this.scorePhoto(photo), range);
  }

  // Where the photo loses quality: the score of the part around each cell, row by row; see `mobileiqa explain`.
  // `onPart(part, done, count)` is called after each.
  async map(source, onPart = () => {}) {
    const photo = await decode(source);
    const parts = [], boxes = partBoxes(photo.width, photo.height);
    try {
      for (const [left, top, width, height] of boxes.list) {
        parts.push({ left, top, width, height, ...(await this.scorePhoto(part(photo, left, top, width, height))) });
        onPart(parts.at(-1), parts.length, boxes.list.length);
        await new Promise((resolve) => setTimeout(resolve)); // lets the page draw
      }
    } finally {
      photo.close?.();
    }
    return { columns: boxes.columns, rows: boxes.rows, parts };
  }

  // Drawn images test the arithmetic, encoded photos the browser's decoder and colours, too. A format that this browser
  // does not read (HEIC) is no failure, and said.
  async selfTest() {
    const checks = [];
    for (const each of this.facts.drawn) {
      const outputs = await this.outputs(drawn(each));
      checks.push(judged(`drawn ${each.image}`, outputs, each.expected, this.facts.tolerance));
    }
    for (const each of this.facts.photos) checks.push(await this.#goldenPhoto(each));
    return checks;
  }

  async #goldenPhoto(each) {
    const name = `golden photo ${each.file}`, blob = await (await got(`golden/${each.file}`)).blob();
    let photo;
    try {
      photo = await decode(blob);
    } catch (error) {
      const known = /\.(jpe?g|png)$/.test(each.file);
      return { name, passed: !known, result: known ? `not read: ${error.message}` : 'this browser does not read it' };
    }
    try {
      return judged(name, await this.outputs(photo), each.expected, each.tolerance);
    } finally {
      photo.close?.();
    }
  }

  close() {
    this.model?.delete();
    this.model = null;
  }
}

let runtime = null; // LiteRT is loaded once a page

function judged(name, outputs, expected, tolerance) {
  const error = Math.max(...expected.map((value, i) => Math.abs(value - outputs[i])));
  const passed = outputs.length === expected.length && error <= tolerance; // NaN never is
  return { name, passed, result: `${outputs[0]}, expected ${expected[0]}; off by ${error} at most`, error };
}

// A photo of views.js: upright by Exif, in sRGB, transparency on white. Read through a small canvas a part at a time:
// canvases have a largest size, photos do not.
export async function decode(source) {
  const options = { imageOrientation: 'from-image', colorSpaceConversion: 'default', premultiplyAlpha: 'default' };
  const own = !(source instanceof ImageBitmap), frame = 'displayWidth' in source; // a camera's or a video's
  if (frame && CHROMA_STEP[source.format] && !source.rotation && !source.flip) return framePixels(source);
  const bitmap = own ? await createImageBitmap(source, frame ? {} : options) : source;
  const canvas = document.createElement('canvas');
  const context = canvas.getContext('2d', { willReadFrequently: true, colorSpace: 'srgb' });
  return {
    width: bitmap.width,
    height: bitmap.height,
    read(left, top, width, height) {
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
      context.fillStyle = 'white';
      context.fillRect(0, 0, width, height);
      context.drawImage(bitmap, left, top, width, height, 0, 0, width, height);
      return context.getImageData(0, 0, width, height).data;
    },
    close: own ? () => bitmap.close() : undefined,
  };
}

const CHROMA_STEP = { I420: 1, NV12: 2 }; // bytes from one chroma sample to the next

// A 4:2:0 VideoFrame's own numbers: browsers convert them one way or another.
async function framePixels(frame) {
  const bytes = new Uint8Array(frame.allocationSize()), planes = await frame.copyTo(bytes);
  const { width, height } = frame.visibleRect, step = CHROMA_STEP[frame.format];
  const [luma, blue, red] = planes.map(({ offset, stride }) => ({ bytes: bytes.subarray(offset), stride }));
  const chroma = { blue: { ...blue, step }, red: red ? { ...red, step } : { bytes: blue.bytes.subarray(1), stride: blue.stride, step } };
  return ofYuv(width, height, { luma: { ...luma, step: 1 }, ...chroma }, frame.colorSpace);
}

async function got(name) {
  const answer = await fetch(new URL(name, HERE));
  if (!answer.ok) throw new Error(`${name}: ${answer.status} ${answer.statusText}`);
  return answer;
}

async function sha256(bytes) {
  if (!globalThis.crypto?.subtle) throw new Error('this page needs https, or localhost: no SHA-256 here');
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

function remembered(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

function remember(key, accelerator) {
  try {
    localStorage.setItem(key, JSON.stringify(accelerator));
  } catch {
    // private windows store nothing: the self-test runs again next time
  }
}
