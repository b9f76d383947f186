"use strict";
// What each op of fgrad's computes from numbers, and the local derivative by each operand, as in the rows of
// fgrad/ops/elementwise.py: a number, or a rule on the result and the operands. An op without one passes nothing back.
// JavaScript's numbers are Python's floats; where the two languages' functions differ, Python's (and C's) is written out.

const greater = (x, y) => (x >= y || x !== x ? x : y);
const sign = (x) => (x !== x ? x : (x > 0) - (x < 0));
const share = (x, y) => (Number(x) === Number(y) ? 0.5 : x > y ? 1 : 0);
const signed = (x, y) => (y < 0 || Object.is(y, -0) ? -Math.abs(x) : Math.abs(x));
const sigmoid = (x) => { const e = Math.exp(-Math.abs(x)); return (x >= 0 ? 1 : e) / (1 + e); };
const scale = (g, p) => { const c = g * p; return c !== c && (g == 0 || p == 0) ? 0 : c; };
const power = (x, y) => (Number(x) === 1 || (Number(x) === -1 && Math.abs(y) === Infinity) ? 1 : Math.pow(x, y));

function remainder(x, y) {
  const m = x % y;
  return m ? ((y < 0) !== (m < 0) ? m + y : m) : m === 0 ? signed(0, y) : NaN;
}

function quotient(x, y) {
  if (y == 0) return x / y;
  const m = x % y;
  const exact = (x - m) / y - (m && (y < 0) !== (m < 0) ? 1 : 0);
  if (!exact) return exact === 0 ? signed(0, x / y) : NaN;
  const whole = Math.floor(exact);
  return exact - whole > 0.5 ? whole + 1 : whole;
}

function rounded(x) {
  const whole = Math.round(x);
  return Math.abs(x % 1) === 0.5 && whole % 2 ? whole - 1 : whole;
}

const bitwise = (onBooleans, onIntegers) => (x, y) =>
  typeof x === "boolean" && typeof y === "boolean" ? onBooleans(x, y) : Number(onIntegers(BigInt(x), BigInt(y)));

const OPS = {
  add: [(x, y) => x + y, 1, 1],
  subtract: [(x, y) => x - y, 1, -1],
  multiply: [(x, y) => x * y, (ans, x, y) => y, (ans, x, y) => x],
  divide: [(x, y) => x / y, (ans, x, y) => 1 / y, (ans, x, y) => -ans / y],
  pow: [power, (ans, x, y) => (y === 2 ? 2 * x : scale(y, power(x, y - 1))), (ans, x, y) => scale(ans, Math.log(x))],
  remainder: [remainder, 1, (ans, x, y) => -quotient(x, y)],
  floor_divide: [quotient],
  negative: [(x) => (x === false ? 0 : -x), -1],
  positive: [(x) => +x, 1],
  abs: [(x) => Math.abs(x), (ans, x) => sign(x)],
  sign: [sign],
  square: [(x) => x * x, (ans, x) => 2 * x],
  sqrt: [Math.sqrt, (ans, x) => 0.5 / ans],
  reciprocal: [(x) => 1 / x, (ans, x) => -ans * ans],

  exp: [Math.exp, (ans, x) => ans],
  exp2: [(x) => power(2, x), (ans, x) => Math.LN2 * ans],
  expm1: [Math.expm1, (ans, x) => ans + 1],
  log: [Math.log, (ans, x) => 1 / x],
  log2: [Math.log2, (ans, x) => 1 / Math.LN2 / x],
  log10: [Math.log10, (ans, x) => 1 / Math.LN10 / x],
  log1p: [Math.log1p, (ans, x) => 1 / (1 + x)],
  logaddexp: [
    (x, y) => (x === y ? x + Math.LN2 : greater(x, y) + Math.log1p(Math.exp(-Math.abs(x - y)))),
    (ans, x, y) => sigmoid(x - y),
    (ans, x, y) => sigmoid(y - x),
  ],

  sin: [Math.sin, (ans, x) => Math.cos(x)],
  cos: [Math.cos, (ans, x) => -Math.sin(x)],
  tan: [Math.tan, (ans, x) => 1 + ans * ans],
  asin: [Math.asin, (ans, x) => 1 / Math.sqrt(1 - x * x)],
  acos: [Math.acos, (ans, x) => -1 / Math.sqrt(1 - x * x)],
  atan: [Math.atan, (ans, x) => 1 / (1 + x * x)],
  atan2: [Math.atan2, (ans, x, y) => scale(y, 1 / (x * x + y * y)), (ans, x, y) => -scale(x, 1 / (x * x + y * y))],
  sinh: [Math.sinh, (ans, x) => Math.cosh(x)],
  cosh: [Math.cosh, (ans, x) => Math.sinh(x)],
  tanh: [Math.tanh, (ans, x) => 1 - ans * ans],
  asinh: [Math.asinh, (ans, x) => 1 / Math.sqrt(x * x + 1)],
  acosh: [Math.acosh, (ans, x) => 1 / Math.sqrt((x - 1) * (x + 1))],
  atanh: [Math.atanh, (ans, x) => 1 / ((1 - x) * (1 + x))],
  deg2rad: [(x) => x * (Math.PI / 180), Math.PI / 180],
  rad2deg: [(x) => x * (180 / Math.PI), 180 / Math.PI],
  hypot: [Math.hypot, (ans, x, y) => scale(x, 1 / ans), (ans, x, y) => scale(y, 1 / ans)],
  cbrt: [Math.cbrt, (ans, x) => 1 / (3 * ans * ans)],

  floor: [Math.floor],
  ceil: [Math.ceil],
  round: [rounded],
  maximum: [greater, (ans, x, y) => share(x, y), (ans, x, y) => share(y, x)],
  minimum: [(x, y) => -greater(-x, -y), (ans, x, y) => share(y, x), (ans, x, y) => share(x, y)],

  equal: [(x, y) => Number(x) === Number(y)],
  not_equal: [(x, y) => Number(x) !== Number(y)],
  less: [(x, y) => x < y],
  less_equal: [(x, y) => x <= y],
  greater: [(x, y) => x > y],
  greater_equal: [(x, y) => x >= y],
  logical_and: [(x, y) => truth(x) && truth(y)],
  logical_or: [(x, y) => truth(x) || truth(y)],
  logical_xor: [(x, y) => truth(x) !== truth(y)],
  logical_not: [(x) => !truth(x)],
  bitwise_and: [bitwise((x, y) => x && y, (x, y) => x & y)],
  bitwise_or: [bitwise((x, y) => x || y, (x, y) => x | y)],
  bitwise_xor: [bitwise((x, y) => x !== y, (x, y) => x ^ y)],
  bitwise_invert: [(x) => (typeof x === "boolean" ? !x : -x - 1)],
  isnan: [(x) => x !== x],
  isinf: [(x) => Math.abs(x) === Infinity],
  isfinite: [(x) => Number.isFinite(Number(x))],

  relu: [(x) => greater(x, 0), (ans, x) => Number(ans > 0)],
  sigmoid: [sigmoid, (ans, x) => ans * (1 - ans)],
  softplus: [(x) => greater(x, 0) + Math.log1p(Math.exp(-Math.abs(x))), (ans, x) => sigmoid(x)],
  scale: [scale, (ans, g, p) => p, (ans, g, p) => g],

  where: [(condition, x, y) => (truth(condition) ? x : y), 0, (ans, c) => Number(truth(c)), (ans, c) => Number(!truth(c))],
  named: [(x) => x, 1],
  number: [(x) => x, 1],
  stop_gradient: [(x) => x],
};

/** The ops that pass an exact 0 on; from all others nothing flows then. */
const PASSING = new Set(["where", "named", "number"]);

/** Whether Python takes a value for true: nan is. */
function truth(x) {
  return x !== x || Boolean(x);
}

/** All values of a program, from those of its arguments. */
function forward(quantities, given) {
  const values = [];
  for (const [i, q] of quantities.entries()) {
    const [f] = OPS[q.op] ?? [];
    values.push(q.kind === "input" ? given[i] : f(...q.operands.map((x) => operandValue(x, values))));
  }
  return values;
}

function operandValue(x, values) {
  return x.source === undefined ? x.constant : values[x.source];
}

/** The local derivative by an operand, as fgrad scales with it; null where nothing flows. */
function localDerivative(q, k, values, i) {
  const rule = q.kind === "input" || q.operands[k].source === undefined ? 0 : OPS[q.op][k + 1];
  if (!rule) return null;
  return typeof rule === "number" ? rule : rule(values[i], ...q.operands.map((x) => operandValue(x, values)));
}

/** The steps of the backward pass, newest value first, and the gradients that they end at. */
function backward(quantities, values, result) {
  const held = new Map(result === undefined ? [] : [[result, 1]]);
  const steps = [];
  for (let i = quantities.length - 1; i >= 0; i--) {
    const q = quantities[i];
    const gradient = held.get(i);
    if (gradient === undefined || q.kind === "input" || OPS[q.op].length === 1) continue;
    const adds = [];
    for (const [k, { source }] of q.operands.entries()) {
      const partial = localDerivative(q, k, values, i);
      if (partial === null || (gradient === 0 && !PASSING.has(q.op))) continue;
      const before = held.get(source) ?? null;
      const amount = scale(gradient, partial);
      held.set(source, before === null ? amount : before + amount);
      adds.push({ operand: k, source, amount, before, after: held.get(source) });
    }
    steps.push({ quantity: i, gradient, adds });
  }
  return { steps, gradients: quantities.map((_, i) => held.get(i) ?? 0) };
}
