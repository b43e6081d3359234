// The page: a photo is dropped, and its score, reasons and map appear.

import { Scorer } from './mobileiqa.js';

const SHOWN_PX = 1000; // the map's longer side
const STRONGEST = 0.75; // of red, over a part that scores the range's worst
const $ = (id) => document.getElementById(id);
let scorer, photo;

function status(text) {
  $('status').textContent = text;
}

async function start() {
  navigator.serviceWorker?.register('sw.js').catch(() => {}); // without it the page needs its server
  scorer = await Scorer.load();
  const { runsOn, whyNot } = scorer.accelerator;
  $('about').textContent = `${scorer.facts.about}; runs on ${runsOn}${whyNot ? `, not on WebGPU: ${whyNot}` : ''}`;
  status('Ready.');
}

async function show(file) {
  photo = file;
  status('Scoring...');
  const result = await scorer.score(file);
  $('score').textContent = result.score.toFixed(3);
  $('label').textContent = `of ${scorer.facts.low} to ${scorer.facts.high}: ${result.label}`;
  $('reasons').replaceChildren(...Object.entries(result.reasons).slice(0, 5).map(row));
  $('map').width = $('map').height = 0;
  $('result').hidden = false;
  status(`${file.name ?? 'The photo'}, ${result.width} x ${result.height}`);
}

function row([name, probability]) {
  const line = document.createElement('tr'), meter = document.createElement('meter');
  meter.value = probability;
  const cells = [name, probability.toFixed(2), meter].map((content) => {
    const cell = document.createElement('td');
    cell.append(content);
    return cell;
  });
  line.append(...cells);
  return line;
}

async function explain() {
  $('explain').disabled = true;
  try {
    const map = await scorer.map(photo, (part, done, count) => status(`Scoring parts: ${done} of ${count}`));
    await draw(map);
    const worst = map.parts.reduce((a, b) => (scorer.share(b.score) < scorer.share(a.score) ? b : a));
    const [reason] = Object.keys(worst.reasons);
    status(`The worst part, outlined, scores ${worst.score.toFixed(2)}${reason ? `: ${reason}` : ''}.`);
  } finally {
    $('explain').disabled = false;
  }
}

async function draw({ columns, rows, parts }) {
  const bitmap = await createImageBitmap(photo, { imageOrientation: 'from-image' });
  const scale = Math.min(1, SHOWN_PX / Math.max(bitmap.width, bitmap.height));
  const canvas = $('map'), context = canvas.getContext('2d');
  canvas.width = Math.round(bitmap.width * scale);
  canvas.height = Math.round(bitmap.height * scale);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const red = new ImageData(columns, rows);
  parts.forEach((part, i) => red.data.set([255, 0, 0, 255 * STRONGEST * (1 - scorer.share(part.score))], 4 * i));
  context.imageSmoothingQuality = 'high';
  context.drawImage(await createImageBitmap(red), 0, 0, canvas.width, canvas.height);
  const worst = parts.reduce((a, b) => (scorer.share(b.score) < scorer.share(a.score) ? b : a));
  context.strokeStyle = 'white';
  context.lineWidth = 3;
  context.strokeRect(worst.left * scale, worst.top * scale, worst.width * scale, worst.height * scale);
  bitmap.close();
}

function failing(action) {
  return (...values) => action(...values).catch((error) => status(`Cannot: ${error.message ?? error}`));
}

const ready = failing(start)();
const take = failing(async (files) => {
  await ready;
  if (!files.length || !scorer) return;
  if (files.length === 1) return show(files[0]);
  status(`Comparing ${files.length} photos...`);
  const { best, ranked, leftOut } = await scorer.best(files);
  await show(files[best]);
  const others = ranked.slice(1).map(({ index, why }) => `${files[index].name} (${why})`);
  const aside = Object.entries(leftOut).map(([index, reason]) => `${files[index].name} left out: ${reason}`);
  status([`Keep ${files[best].name}; then ${others.join(', ')}`, ...aside].join('; '));
});
$('file').addEventListener('change', () => take([...$('file').files]));
$('explain').addEventListener('click', failing(explain));
for (const [name, over] of [['dragover', true], ['dragleave', false], ['drop', false]]) {
  $('drop').addEventListener(name, (event) => {
    event.preventDefault();
    $('drop').classList.toggle('over', over);
    if (name === 'drop') take([...event.dataTransfer.files]);
  });
}
