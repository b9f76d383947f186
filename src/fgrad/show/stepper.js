// The page: where both passes stand at each step, and how that is shown. It computes by the table of ops above.

const program = JSON.parse(document.getElementById("data").textContent, (key, x) =>
  Array.isArray(x) && typeof x[0] === "string" && x.length === 1 ? { nan: NaN, inf: Infinity, "-inf": -Infinity }[x[0]] : x);
const quantities = program.quantities.slice(0, program.kept);
const arguments_ = quantities.filter((q) => q.kind === "input");
const at = (id) => document.getElementById(id);
const calm = matchMedia("(prefers-reduced-motion: reduce)");

// --- numbers in words, as fgrad writes them --------------------------------------------------------------------------
/** A number to so many significant digits, as Python's format "g" writes it; what is said of an array as it is. */
function written(x, digits = 6, integer = false) {
  if (typeof x === "string") return x;
  if (typeof x === "boolean") return x ? "True" : "False";
  if (!Number.isFinite(x)) return exact(x);
  if (x === 0 || integer) return exact(x);
  const [mantissa, power_] = halfToEven(Math.abs(x), digits).split("e");
  const figures = mantissa.replace(".", ""), place = Number(power_);
  const sign_ = x < 0 ? "-" : "";
  const trimmed = (text) => (text.includes(".") ? text.replace(/\.?0*$/, "") : text);
  if (place < -4 || place >= digits) {
    return `${sign_}${trimmed(mantissa)}e${place < 0 ? "-" : "+"}${String(Math.abs(place)).padStart(2, "0")}`;
  }
  const padded = place < 0 ? "0".repeat(-place) + figures : figures;
  const point = Math.max(place, 0) + 1;
  return sign_ + trimmed(`${padded.slice(0, point)}.${padded.slice(point)}`);
}

/** A positive number to so many digits; one that lies in the middle goes to the even one, and not up. */
function halfToEven(x, digits) {
  const up = x.toExponential(digits - 1);
  if (!/5e/.test(x.toExponential(digits))) return up;
  const all = x.toExponential(100);
  const [, kept, rest] = all.match(digits === 1 ? /^(\d)\.(\d+)e/ : new RegExp(`^(\\d\\.\\d{${digits - 1}})(\\d+)e`));
  return /^50*$/.test(rest) && Number(kept.at(-1)) % 2 === 0 ? kept + all.slice(all.indexOf("e")) : up;
}

/** All digits of a number. */
function exact(x) {
  if (typeof x === "number" && !Number.isFinite(x)) return x !== x ? "nan" : x > 0 ? "inf" : "-inf";
  return Object.is(x, -0) ? "-0" : String(x);
}

/** An op on some terms, as `notation.formula` writes it. */
function formula(op, terms) {
  if (op === "named") return terms[0];
  if (!(op in program.operators)) return `${op}(${terms.join(", ")})`;
  const [template, bracketed] = program.operators[op];
  let k = 0;
  return template.replace(/\{\}/g, () => {
    const term = terms[k];
    return bracketed.includes(k++) && term.startsWith("-") ? `(${term})` : term;
  });
}

function withNumbers(q, values) {
  const terms = q.operands.map((x) =>
    x.source === undefined ? x.text : written(values[x.source], 4, program.quantities[x.source].integer));
  return q.kind === "input" ? "" : formula(q.op, terms);
}

// --- both passes, as they were recorded, or on other inputs ----------------------------------------------------------
/** Why the page can't compute on other inputs; nothing where it can. */
function obstacle() {
  for (const q of program.quantities) {
    if (q.kind !== "input" && (q.own || !(q.op in OPS))) return `${q.name} is made by ${q.op}, which this page cannot compute`;
    const all = [q.value, ...q.operands.filter((x) => x.source === undefined).map((x) => x.constant)];
    if (all.some((x) => typeof x === "string")) return `${q.name} is an array, or a number of another library's, and this page computes with plain numbers alone`;
  }
  return arguments_.length ? "" : "there are none";
}

const recorded = {
  values: program.quantities.map((q) => q.value),
  numbers: quantities.map((q) => q.numbers),
  partials: quantities.map((q) => q.operands.map((x) => x.partial ?? null)),
  gradients: quantities.map((q) => q.gradient),
  steps: program.steps,
};

/** Both passes on other inputs. */
function computed(given) {
  const values = forward(program.quantities, given);
  const [result] = program.differentiated ? program.result : [];
  const partial = (q, i, k) => {
    const p = localDerivative(q, k, values, i);
    return p === null ? null : scale(1, p);
  };
  return {
    values,
    numbers: quantities.map((q) => withNumbers(q, values)),
    partials: quantities.map((q, i) => q.operands.map((_, k) => partial(q, i, k))),
    ...(program.differentiated ? backward(quantities, values, result) : { steps: [], gradients: quantities.map(() => null) }),
  };
}

/** The branches that the function would take another way, in words. */
function strayed(values) {
  const other = program.decisions.filter(({ quantity: i, taken }) =>
    typeof taken === "boolean" ? truth(values[i]) !== taken : values[i] !== taken);
  return [...new Set(other.map(({ quantity: i }) => i))].map((i) => {
    const q = program.quantities[i];
    return `${q.formula || q.name} was ${written(q.value)} and is ${written(values[i])}`;
  });
}

// --- the steps -------------------------------------------------------------------------------------------------------
let pass, moments, known, totals, now = 0;

/** Take these passes for shown: list the moments, and what each gradient has come to at which of them. */
function show(shown) {
  pass = shown;
  const made = quantities.map((_, i) => i).filter((i) => quantities[i].kind !== "input");
  moments = [{ kind: "start" }, ...made.map((quantity) => ({ kind: "forward", quantity }))];
  if (program.differentiated) {
    moments.push({ kind: "seed" }, ...pass.steps.map((step) => ({ kind: "backward", quantity: step.quantity, step })));
  }
  moments.push({ kind: "end" });
  totals = new Map();
  const add = (i, moment, total) => (totals.has(i) ? totals.get(i).push([moment, total]) : totals.set(i, [[moment, total]]));
  for (const [m, { kind, step }] of moments.entries()) {
    if (kind === "seed" && program.result.length) add(program.result[0], m, 1);
    for (const { source, after } of step?.adds ?? []) add(source, m, after);
  }
  known = new Map(moments.map(({ kind, quantity }, m) => [kind === "forward" ? quantity : -1, m]));
}

const isKnown = (i) => (known.get(i) ?? 0) <= now;

/** What the gradient has come to so far; undefined before anything has reached it. */
function gradientSoFar(i) {
  if (!program.differentiated) return undefined;
  if (moments[now].kind === "end") return pass.gradients[i];
  return totals.get(i)?.findLast(([moment]) => moment <= now)?.[1];
}

/** The values that the step is about: the one at work, and those that it takes from, or adds to. */
function focus() {
  const { kind, quantity, step } = moments[now];
  if (kind === "seed") return { current: program.result[0], near: [] };
  if (kind === "forward") return { current: quantity, near: sources(quantities[quantity]) };
  return { current: quantity, near: (step?.adds ?? []).map((x) => x.source) };
}

const sources = (q) => q.operands.filter((x) => x.source !== undefined).map((x) => x.source);
const isBackward = () => moments[now].kind === "seed" || moments[now].kind === "backward" || (moments[now].kind === "end" && program.differentiated);

// --- pieces of the page ----------------------------------------------------------------------------------------------
function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, x] of Object.entries(properties)) key in made ? (made[key] = x) : made.setAttribute(key, x);
  made.append(...children);
  return made;
}

function drawn(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, x] of Object.entries(attributes)) made.setAttribute(key, x);
  made.append(...children);
  return made;
}

/** A number to be read, with all its digits to be had; "v" is a value, "g" a gradient. */
function numeral(x, kind, integer = false) {
  return element("span", { className: kind, title: exact(x) }, written(x, 6, integer));
}

const valueOf = (i) => numeral(pass.values[i], "v", program.quantities[i].integer);
const bracketed = (x) => (written(x).startsWith("-") ? ["(", numeral(x, "p"), ")"] : [numeral(x, "p")]);

// --- what happens at this step, in words -----------------------------------------------------------------------------
const tell = {
  start() {
    return ["The inputs", element("p", {}, "Every pass starts with them. Go forward to compute the first value.")];
  },
  forward({ quantity: i }) {
    const q = quantities[i];
    const slopes = q.operands.flatMap((x, k) => (pass.partials[i][k] === null ? [] : [slope(q, x, pass.partials[i][k])]));
    return [
      `${q.name} = ${q.formula}`,
      element("p", { className: "result" }, `= ${pass.numbers[i]}`),
      element("p", { className: "result" }, "= ", valueOf(i)),
      ...(slopes.length ? [element("p", { className: "soft" }, "Local derivatives: how fast it changes with each operand."), ...slopes] : []),
    ];
  },
  seed() {
    const [i] = program.result;
    if (i === undefined) return ["No gradient", element("p", {}, "The result depends on no input: all gradients are 0.")];
    return [
      `gradient of ${quantities[i].name} = 1`,
      element("p", {}, `${quantities[i].name} is the result, and changes as fast as itself. The way back starts here, with `, numeral(1, "g"), "."),
    ];
  },
  backward({ quantity: i, step }) {
    const q = quantities[i];
    const lead = step.adds.length
      ? [`Its gradient${step.adds.some((x) => typeof x.amount === "string") ? " g" : ""} is complete: `, numeral(step.gradient, "g"), ". It goes on to each operand, times the local derivative."]
      : ["Its gradient is ", numeral(step.gradient, "g"), ": nothing flows on."];
    return [`${q.name} = ${q.formula}`, element("p", {}, ...lead), ...(step.adds.length ? [additions(step)] : [])];
  },
  end() {
    const results = program.result.map((i) => [quantities[i].name, valueOf(i)]);
    const gradients = arguments_.slice(0, 100).map((q) => [`∂/∂${q.name}`, numeral(pass.gradients[q.index], "g")]);
    const more = arguments_.length > 100 ? [element("p", {}, `and ${arguments_.length - 100} more in the table below.`)] : [];
    const list = (pairs) => element("dl", {}, ...pairs.flatMap(([name, x]) => [element("dt", {}, name), element("dd", {}, x)]));
    if (!program.differentiated) return ["Done", element("p", {}, "The result is not one number, so there is no gradient."), list(results)];
    return ["Both passes are done", element("p", {}, "The result, and how fast it changes with each input:"), list([...results, ...gradients]), ...more];
  },
};

function slope(q, operand, partial) {
  const name = quantities[operand.source].name;
  const line = element("p", { className: "result slope" }, `∂${q.name}/∂${name} = `);
  line.append(typeof partial === "string" ? partial : numeral(partial, "p"));
  return line;
}

function additions(step) {
  const row = ({ operand, source, amount, before, after }) => {
    const partial = pass.partials[step.quantity][operand];
    const product = typeof partial === "string" ? [partial] : [numeral(step.gradient, "p"), " · ", ...bracketed(partial)];
    const sum = before === null ? [] : [numeral(before, "p"), " + ", ...bracketed(amount), " = "];
    return element("tr", {}, element("th", { scope: "row", title: quantities[source].name }, tail(quantities[source].name)),
      element("td", {}, ...product, " = ", numeral(amount, "g")), element("td", {}, ...sum, numeral(after, "g")));
  };
  const heads = ["to", "gradient · local derivative", "sum so far"];
  return element("div", { className: "scroll" }, element("table", {},
    element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
    element("tbody", {}, ...step.adds.map(row))));
}

/** The step as a sentence, for who listens. */
function sentence() {
  const { kind, quantity: i, step } = moments[now];
  const place = `Step ${now} of ${moments.length - 1}. `;
  if (kind === "start") return `${place}The inputs: ${arguments_.slice(0, 8).map((q) => `${q.name} is ${written(pass.values[q.index])}`).join(", ")}.`;
  if (kind === "forward") return `${place}Forward: ${quantities[i].name} is ${quantities[i].formula}, that is ${pass.numbers[i]}, which is ${written(pass.values[i])}.`;
  if (kind === "seed") return `${place}Backward: ${at("what").textContent}.`;
  if (kind === "end") return `${place}${at("what").textContent}.`;
  const adds = step.adds.map(({ source, amount, after }) => `adds ${written(amount)} to the gradient of ${quantities[source].name}, which is now ${written(after)}`);
  return `${place}Backward: ${quantities[i].name}, with gradient ${written(step.gradient)}, ${adds.join(", and ") || "adds nothing"}.`;
}

// --- the graph -------------------------------------------------------------------------------------------------------
let boxes = [], links = [], boxOf = new Map(), size = 1, amounts;

function drawGraph() {
  const { graph } = program;
  if (!graph) {
    at("graph").replaceWith(element("p", { className: "soft" }, 'For a drawing of the graph here, pip install "fgrad[show]" and save the page again.'));
    for (const part of document.querySelectorAll(".zoom, .legend")) part.hidden = true;
    return;
  }
  const tip = (id) => drawn("marker", { id, viewBox: "0 0 10 10", refX: 9.5, refY: 5, markerWidth: 9, markerHeight: 9, markerUnits: "userSpaceOnUse", orient: "auto-start-reverse" },
    drawn("path", { d: "M0 0 L10 5 L0 10 z" }));
  const [width, height] = graph.size;
  links = graph.links.map(({ tail, head, path: [x, y, ...rest] }) => ({ tail, head, points: [x, y, ...rest], line: drawn("path", { class: "link", d: `M${x} ${y} C${rest.join(" ")}` }) }));
  boxes = graph.boxes.map(drawBox);
  for (const [b, { members }] of graph.boxes.entries()) for (const i of members) boxOf.set(i, b);
  amounts = drawn("g");
  at("graph").append(drawn("svg", { viewBox: `-4 -4 ${width + 8} ${height + 8}`, "aria-hidden": "true" },
    drawn("defs", {}, tip("tip"), tip("active-tip")), ...links.map((x) => x.line), ...boxes.map((x) => x.group), amounts));
  const room = at("graph").clientWidth - 2;
  zoom(room >= 0.75 * (width + 8) ? Math.min(room / (width + 8), 1.15) : Math.min(0.95, room / 400));  // two boxes side by side
}

function drawBox({ centre: [x, y], size: [width, height], name, formula: made, members }) {
  const left = x - width / 2, top = y - height / 2, middle = top + 25, low = top + height - 8.5;
  const title = drawn("text", { x: left + 9, y: top + 17, class: "name" }, name);
  if (made) title.append(drawn("tspan", { class: "formula" }, ` = ${made}`));
  const cell = (kind, from) => drawn("rect", { class: `cell ${kind}`, x: from + 4, y: middle, width: width / 2 - 6, height: 21, rx: 4 });
  const figure = (kind, place) => drawn("text", { class: kind, x: place, y: low - 1, "text-anchor": "middle" });
  const value = figure("v", x - width / 4), gradient = figure("g", x + width / 4);
  const group = drawn("g", {}, drawn("rect", { class: "frame", x: left, y: top, width, height, rx: 5 }), cell("value", left), cell("gradient", x - 2), title, value, gradient);
  group.addEventListener("click", () => visit(members[0]));
  return { group, value, gradient, members, centre: [x, y], size: [width, height] };
}

function refreshGraph() {
  if (!program.graph) return;
  const { current, near } = focus();
  const here = boxOf.get(current), around = new Set(near.map((i) => boxOf.get(i)));
  for (const [b, { group, value, gradient, members }] of boxes.entries()) {
    const done = members.filter(isKnown).length, reached = members.filter((i) => (gradientSoFar(i) ?? null) !== null).length;
    const states = {
      input: quantities[members[0]].kind === "input",
      [done === members.length ? "known" : "waiting"]: true,
      graded: reached,
      current: b === here,
      near: b !== here && around.has(b),
    };
    put(group, ["box", ...Object.keys(states).filter((state) => states[state])].join(" "));
    const figure = (count, x) => (count === 0 ? "" : members.length > 1 ? `${count}/${members.length}` : short(x(members[0])));
    value.textContent = figure(done, (i) => pass.values[i]);
    gradient.textContent = figure(reached, gradientSoFar);
  }
  const back = moments[now].kind === "backward";
  for (const { tail, head, line } of links) {
    put(line, head === here && around.has(tail) ? `link active${back ? " back" : ""}` : "link");
  }
  amounts.replaceChildren(...(back ? labels(here) : []));
  keepInView(here, around);
}

/** A number as it fits in a box, with fewer digits if need be; of an array its shape, or what fits. */
function short(x, digits = 4) {
  const text = written(x, digits), [shape] = text.match(/^\([\d, ]*\)/) ?? [text];
  if (shape.length <= 10) return shape;
  return typeof x === "number" ? written(x, digits - 1) : `${shape.slice(0, 9)}…`;
}

/** The end of a long name, which tells it from its like. */
const tail = (name) => (name.length > 24 ? `…${name.slice(-23)}` : name);

const put = (part, names) => { if (part.getAttribute("class") !== names) part.setAttribute("class", names); };

/** What flows back along each arrow, written on it. */
function labels(here) {
  const { adds } = moments[now].step;
  if (boxes[here].members.length > 1) return [];
  const used = [];
  return adds.flatMap(({ source, amount }) => {
    const link = links.find((x) => x.head === here && x.tail === boxOf.get(source) && !used.includes(x));
    if (!link || boxes[link.tail].members.length > 1) return [];
    used.push(link);
    const length = link.line.getTotalLength();
    const { x, y } = link.line.getPointAtLength(length / 2);
    const number = short(amount, 3), text = /^[-([]/.test(number) ? number : `+${number}`, width = 7 * text.length + 8;
    return [drawn("g", { class: "amount" }, drawn("rect", { x: x - width / 2, y: y - 9, width, height: 18, rx: 9 }), drawn("text", { x, y: y + 4 }, text))];
  });
}

/** Scroll the graph so that the box at work is seen, and, if there is room, those beside it. */
function keepInView(here, around) {
  const view = at("graph");
  if (here === undefined) {
    const end = moments[now].kind === "end" && !program.differentiated ? view.scrollWidth : 0;
    view.scrollTo({ left: end, top: view.scrollTop, behavior: "auto" });
    return;
  }
  const span = (members, axis) => {
    const low = Math.min(...members.map((b) => boxes[b].centre[axis] - boxes[b].size[axis] / 2));
    const high = Math.max(...members.map((b) => boxes[b].centre[axis] + boxes[b].size[axis] / 2));
    return [(low + 4) * size, (high + 4) * size];
  };
  const target = (axis, start, length) => {
    const together = span([here, ...around], axis);
    const [low, high] = together[1] - together[0] <= length - 24 ? together : span([here], axis);
    return low >= start + 8 && high <= start + length - 8 ? start : (low + high - length) / 2;
  };
  view.scrollTo({
    left: target(0, view.scrollLeft, view.clientWidth),
    top: target(1, view.scrollTop, view.clientHeight),
    behavior: calm.matches || timer ? "auto" : "smooth",
  });
}

function zoom(to) {
  size = Math.min(3, Math.max(0.05, to));
  const picture = at("graph").querySelector("svg"), [width, height] = program.graph.size;
  picture.setAttribute("width", Math.round((width + 8) * size));
  picture.setAttribute("height", Math.round((height + 8) * size));
}

function fit() {
  const [width, height] = program.graph.size, view = at("graph");
  zoom(Math.min((view.clientWidth - 2) / (width + 8), parseFloat(getComputedStyle(view).maxHeight) / (height + 8), 1.15));
}

// --- the table: only the rows that are seen exist --------------------------------------------------------------------
const ROW = 33, MARGIN = 60;
const body = document.querySelector("#rows tbody");
const rows = new Map();
let firstRow = -1;

function refreshRows() {
  const view = at("rows");
  const first = Math.max(0, Math.floor(view.scrollTop / ROW) - MARGIN), last = Math.min(quantities.length, first + 3 * MARGIN);
  const wanted = Array.from({ length: last - first }, (_, k) => first + k);
  if (first !== firstRow) {
    firstRow = first;
    for (const i of rows.keys()) if (i < first || i >= last) rows.delete(i);
    for (const i of wanted) if (!rows.has(i)) rows.set(i, tableRow(i));
    body.replaceChildren(gap(first), ...wanted.map((i) => rows.get(i)), gap(quantities.length - last));
  }
  const { current, near } = focus();
  for (const [i, row] of rows) refreshRow(i, row, i === current ? "current" : near.includes(i) ? "near" : "");
}

function gap(count) {
  const row = element("tr", { className: "gap", hidden: !count }, element("td", { colSpan: 5 }));
  row.style.height = `${count * ROW}px`;
  return row;
}

function tableRow(i) {
  const q = quantities[i];
  const name = element("button", { type: "button", title: `To the step of ${q.name}` }, tail(q.name));
  name.addEventListener("click", () => visit(i));
  return element("tr", { "aria-rowindex": i + 2, "data-row": i }, element("th", { scope: "row" }, name), element("td", q.formula ? { title: q.formula } : { className: "soft" }, q.formula || "input"),
    element("td", { className: "numbers" }), element("td", { className: "number" }), element("td", { className: "number" }));
}

function refreshRow(i, row, state) {
  put(row, state);
  row.ariaCurrent = state === "current" ? "step" : null;
  const [, , numbers, value, gradient] = row.cells, g = gradientSoFar(i);
  numbers.textContent = numbers.title = isKnown(i) ? pass.numbers[i] : "";
  value.replaceChildren(...(isKnown(i) ? [valueOf(i)] : []));
  gradient.replaceChildren(...(g === undefined || g === null ? [] : [numeral(g, "g")]));
}

/** Scroll the table so that the row at work is seen. */
function keepRowInView() {
  const { current } = focus(), view = at("rows");
  if (current === undefined) return;
  const head = view.querySelector("thead").offsetHeight, top = current * ROW;
  if (top < view.scrollTop || top + ROW + head > view.scrollTop + view.clientHeight) {
    view.scrollTop = top - (view.clientHeight - head) / 2;
  }
}

// --- the inputs ------------------------------------------------------------------------------------------------------
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const hindrance = obstacle();
let given = arguments_.map((q) => q.value);

function drawInputs() {
  at("inputs-note").textContent = hindrance
    ? `They cannot be changed here: ${hindrance}.`
    : "Type another number and press Enter: both passes are computed again.";
  at("reset").hidden = Boolean(hindrance);
  at("inputs").className = quantities.some((q) => typeof q.value === "string") ? "wide" : "";
  at("inputs").replaceChildren(...arguments_.map((q, i) => {
    const field = hindrance
      ? element("output", { className: "v", title: exact(q.value) }, written(q.value))
      : element("input", { inputMode: "decimal", value: exact(q.value), autocomplete: "off", spellcheck: false, "data-input": i });
    if (!hindrance) field.addEventListener("change", () => edit(i, field));
    return element("label", { className: q.name.length > 8 ? "tall" : "" }, element("span", { title: q.name }, tail(q.name)), field);
  }));
}

/** The number that a text is, or undefined. */
function parsed(text) {
  const special = text.toLowerCase().match(/^([+-]?)(inf|infinity|nan)$/);
  if (special) return special[2] === "nan" ? NaN : special[1] === "-" ? -Infinity : Infinity;
  return NUMBER.test(text) ? Number(text) : undefined;
}

function edit(i, field) {
  const x = parsed(field.value.trim());
  const { name } = arguments_[i];
  if (x === undefined) {
    say(`“${field.value}” is not a number: ${name} stays ${exact(given[i])}.`);
  } else {
    given[i] = x;
    say("");
    recompute();
  }
  field.value = exact(given[i]);
}

function say(message) {
  at("message").textContent = message;
  at("message").hidden = !message;
}

function recompute() {
  const original = given.every((x, i) => Object.is(x, arguments_[i].value));
  show(original ? recorded : computed(given));
  at("reset").disabled = original;
  const other = strayed(pass.values);
  at("warning").hidden = !other.length;
  at("warning").textContent = other.length
    ? `With these inputs ${program.function} takes another way: ${other.slice(0, 3).join("; ")}${other.length > 3 ? "; …" : ""}. The page keeps to the recorded way, so its numbers are not those of ${program.function}.`
    : "";
  go(now);
}

function reset() {
  given = arguments_.map((q) => q.value);
  for (const [i, field] of at("inputs").querySelectorAll("input").entries()) field.value = exact(given[i]);
  say("");
  recompute();
}

// --- going through ---------------------------------------------------------------------------------------------------
let timer = 0;

function go(to) {
  now = Math.max(0, Math.min(moments.length - 1, to));
  const way = moments[now].kind === "start" ? "" : isBackward() ? "backward" : "forward";
  document.body.className = way;
  at("phase").textContent = { "": "Start", forward: "Forward pass", backward: "Backward pass" }[way];
  at("place").textContent = `step ${now} of ${moments.length - 1}`;
  const [what, ...how] = tell[moments[now].kind](moments[now]);
  at("what").textContent = what;
  at("how").replaceChildren(...how);
  at("spoken").textContent = sentence();
  at("slider").max = moments.length - 1;
  at("slider").value = now;
  at("slider").ariaValueText = `${at("place").textContent}, ${way || "start"}: ${what}`;
  const turn = moments.findIndex((x) => x.kind === "seed");
  at("forward-part").style.flexGrow = turn < 0 ? 1 : turn;
  at("backward-part").style.flexGrow = turn < 0 ? 0 : moments.length - turn;
  at("backward-part").hidden = turn < 0;
  for (const id of ["first", "back"]) at(id).ariaDisabled = now === 0;
  for (const id of ["last", "forward"]) at(id).ariaDisabled = now === moments.length - 1;
  keepRowInView();
  refreshRows();
  refreshGraph();
}

/** Go to where a value is made; on the way back, to where its gradient is handed on. */
function visit(i) {
  const kind = isBackward() ? "backward" : "forward";
  const found = moments.findIndex((x) => x.kind === kind && x.quantity === i);
  stop();
  go(found >= 0 ? found : kind === "forward" ? 0 : moments.length - 1);
}

function step(by) {
  stop();
  go(now + by);
}

function play() {
  if (timer) return stop();
  if (now === moments.length - 1) go(0);
  tick();
}

function tick() {
  timer = setTimeout(() => {
    go(now + 1);
    if (now < moments.length - 1) tick();
    else stop();
  }, 1000 / Number(at("speed").value));
  at("play-word").textContent = "Pause";
}

function stop() {
  clearTimeout(timer);
  timer = 0;
  at("play-word").textContent = "Play";
}

const KEYS = { ArrowRight: () => step(1), ArrowLeft: () => step(-1), Home: () => step(-Infinity), End: () => step(Infinity), " ": play };

document.addEventListener("keydown", (event) => {
  const { target, key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || !(key in KEYS)) return;
  if (target.matches("select, #inputs input") || (target.matches("button") && key === " ") || (target === at("slider") && key !== " ")) return;
  event.preventDefault();
  KEYS[key]();
});
at("first").addEventListener("click", () => step(-Infinity));
at("back").addEventListener("click", () => step(-1));
at("play").addEventListener("click", play);
at("forward").addEventListener("click", () => step(1));
at("last").addEventListener("click", () => step(Infinity));
at("slider").addEventListener("input", () => { stop(); go(Number(at("slider").value)); });
at("smaller").addEventListener("click", () => { zoom(size / 1.25); refreshGraph(); });
at("larger").addEventListener("click", () => { zoom(size * 1.25); refreshGraph(); });
at("fit").addEventListener("click", () => { fit(); refreshGraph(); });
at("rows").addEventListener("scroll", refreshRows, { passive: true });
at("reset").addEventListener("click", reset);

for (const [i, q] of quantities.entries()) q.index = i;
document.querySelector("#rows table").ariaRowCount = quantities.length + 1;
drawInputs();
drawGraph();
show(recorded);
go(0);
