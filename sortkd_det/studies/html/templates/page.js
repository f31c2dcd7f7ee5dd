'use strict';

// Tables: a click on a heading sorts by it, numbers from the largest on; what has no value is last.
for (const table of document.querySelectorAll('table.sortable')) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const valueOf = (row, column) => row.cells[column].dataset.value;
  const isNumber = (value) => value !== '' && isFinite(value);
  heads.forEach((head, column) => {
    head.querySelector('button')?.addEventListener('click', () => {
      const rows = [...body.rows];
      const values = rows.map((row) => valueOf(row, column)).filter((value) => value !== undefined);
      const numeric = values.every(isNumber);
      const first = numeric ? 'descending' : 'ascending';
      const second = numeric ? 'ascending' : 'descending';
      const order = head.ariaSort === first ? second : first;
      const sign = order === 'ascending' ? 1 : -1;
      rows.sort((one, other) => {
        const [a, b] = [valueOf(one, column), valueOf(other, column)];
        if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
        return sign * (numeric ? a - b : a.localeCompare(b, 'en'));
      });
      body.append(...rows);
      for (const each of heads) if (each.ariaSort) each.ariaSort = each === head ? order : 'none';
    });
  });
}

// The gallery: boxes are [x, y, width, height, class, score]; those of the truth come first.
const SVG = 'http://www.w3.org/2000/svg';
const IOU = 0.5;
const MOST_IN_LEGEND = 12;
const COLOURS = ['#ff6b5e', '#4db8ff', '#ffd23f', '#5fe08a', '#ff8de0', '#ff9f40', '#b59bff', '#3fe0d0'];
const colourOf = (k) => COLOURS[k] ?? `hsl(${(k * 137.5) % 360} 90% 65%)`;

function overlap(a, b) {
  const width = Math.min(a[0] + a[2], b[0] + b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[1] + a[3], b[1] + b[3]) - Math.max(a[1], b[1]);
  return width > 0 && height > 0 ? width * height : 0;
}

// Which detections are of an object: those of the best scores choose first, each the free object
// of its class that it overlaps most. What lies in a crowd is neither found nor false.
function match(truth, detections) {
  const free = new Set(truth.filter((box) => box[5]));
  const found = [], wrong = [];
  for (const box of [...detections].sort((a, b) => b[5] - a[5])) {
    let best = null, most = IOU;
    for (const object of free) {
      const both = object[4] === box[4] ? overlap(object, box) : 0;
      const iou = both / (object[2] * object[3] + box[2] * box[3] - both);
      if (iou >= most) [best, most] = [object, iou];
    }
    if (best) {
      free.delete(best);
      found.push(box);
    } else {
      const inCrowd = (object) => !object[5] && object[4] === box[4]
        && overlap(object, box) >= IOU * box[2] * box[3];
      if (!truth.some(inCrowd)) wrong.push(box);
    }
  }
  return { found, wrong, missed: [...free] };
}

function drawBoxes(svg, boxes, kind) {
  const byClass = Map.groupBy(boxes, (box) => box[4]);
  for (const [k, own] of byClass) {
    const outline = own.map(([x, y, w, h]) => `M${x} ${y}h${w}v${h}h${-w}z`).join('');
    for (const name of [`under ${kind}`, kind]) {
      const path = document.createElementNS(SVG, 'path');
      path.setAttribute('d', outline);
      path.setAttribute('class', name);
      path.style.color = colourOf(k);
      svg.append(path);
    }
  }
}

function writeNames(svg, boxes, classes, isTruth) {
  const size = 12 * svg.viewBox.baseVal.width / svg.clientWidth;
  for (const [x, y, , , k, score] of boxes) {
    const text = document.createElementNS(SVG, 'text');
    text.setAttribute('x', x);
    text.setAttribute('y', Math.max(y - size / 3, size));
    text.setAttribute('font-size', size);
    text.textContent = isTruth ? classes[k] : `${classes[k]} ${score.toFixed(2)}`;
    svg.append(text);
  }
}

for (const gallery of document.querySelectorAll('.gallery')) {
  const { classes, pictures } = JSON.parse(gallery.querySelector('script').textContent);
  const form = gallery.querySelector('form');
  const cards = [...gallery.querySelectorAll('.cards .card')];
  const sources = [...form.querySelectorAll('fieldset span')].map((span) => span.textContent);

  function drawCard(card, boxes, source, score, chosen) {
    const own = (box) => chosen < 0 || box[4] === chosen;
    const truth = boxes[0].filter(own);
    const objects = truth.filter((box) => box[5]);
    const svg = card.querySelector('.boxes');
    svg.replaceChildren();
    const isTruth = source === 0;
    const tally = card.querySelector('.tally');
    const counts = { objects: objects.length, found: 0, wrong: 0 };
    let shown = objects;
    if (isTruth) {
      drawBoxes(svg, objects, 'found');
      tally.textContent = `${objects.length} objects`;
    } else {
      const said = match(truth, boxes[source].filter((box) => own(box) && box[5] >= score));
      drawBoxes(svg, said.missed, 'missed');
      drawBoxes(svg, said.wrong, 'false');
      drawBoxes(svg, said.found, 'found');
      shown = [...said.found, ...said.wrong];
      counts.found = said.found.length;
      counts.wrong = said.wrong.length;
      tally.textContent = `${counts.found} of ${counts.objects} found, ${counts.wrong} false`;
    }
    if (card.classList.contains('wide')) writeNames(svg, shown, classes, isTruth);
    return counts;
  }

  function draw() {
    const source = Number(form.elements.source.value);
    const score = Number(form.elements.score.value);
    const chosen = Number(form.elements.class.value);
    form.querySelector('output').textContent = score.toFixed(2);
    const total = { objects: 0, found: 0, wrong: 0 };
    cards.forEach((card, index) => {
      const counts = drawCard(card, pictures[index], source, score, chosen);
      for (const name in total) total[name] += counts[name];
    });
    gallery.querySelector('p.tally').textContent = source === 0
      ? `${total.objects} objects in these images`
      : `${sources[source]}, score from ${score.toFixed(2)}: ${total.found} of ${total.objects} `
        + `objects found, ${total.wrong} false detections in these images`;
  }

  function explain() {
    const legend = gallery.querySelector('ul.legend');
    const add = (mark, text) => {
      const item = document.createElement('li');
      item.append(mark, text);
      legend.append(item);
    };
    if (classes.length <= MOST_IN_LEGEND) {
      classes.forEach((name, k) => {
        const mark = document.createElement('span');
        mark.className = 'swatch';
        mark.style.background = colourOf(k);
        add(mark, name);
      });
    }
    for (const [kind, text] of [['found', 'found (IoU ≥ 0.5)'], ['false', 'false'], ['missed', 'missed']]) {
      const mark = document.createElementNS(SVG, 'svg');
      mark.setAttribute('viewBox', '0 0 22 10');
      mark.setAttribute('class', kind === 'missed' ? 'key shaded' : 'key');
      mark.setAttribute('aria-hidden', 'true');
      const line = document.createElementNS(SVG, 'line');
      for (const [name, value] of Object.entries({ x1: 1, x2: 21, y1: 5, y2: 5, class: kind })) {
        line.setAttribute(name, value);
      }
      mark.append(line);
      add(mark, text);
    }
  }

  form.addEventListener('input', draw);
  form.addEventListener('submit', (event) => event.preventDefault());
  cards.forEach((card) => {
    const button = card.querySelector('button');
    button.addEventListener('click', () => {
      button.ariaPressed = String(card.classList.toggle('wide'));
      draw();
    });
  });
  explain();
  draw();
}
