// The network: layers, one step at a time.
//
// Weights are Float32Array; vectors and sums have double precision. Only + - * / and
// square roots are used, which round in the same way in every browser.

const POWERS = new Float64Array(2048); // 2 to the power of index - 1024
for (let i = 0, value = 2 ** -1024; i < 2048; i++, value *= 2) POWERS[i] = value;

const TAYLOR = new Float64Array(14).fill(1); // 1 / n!
for (let n = 2; n < 14; n++) TAYLOR[n] = TAYLOR[n - 1] / n;

// e to the power of x. Math.exp differs between browsers in the last digit.
function exp(x) {
  if (!(x > -700)) return 0;
  if (x > 700) x = 700;
  const k = Math.round(x * 1.4426950408889634);
  const r = x - k * 0.6931471803691238 - k * 1.9082149292705877e-10; // in [-0.35, 0.35]
  let sum = TAYLOR[13];
  for (let n = 12; n >= 0; n--) sum = sum * r + TAYLOR[n];
  return sum * POWERS[k + 1024];
}

const sigmoid = (x) => 1 / (1 + exp(-x));
const clip = (x) => Math.min(Math.max(x, 0), 1);
const elu = (x) => (x > 0 ? x : exp(x) - 1);

const ACTIVATIONS = {
  linear: (x) => x,
  tanh: (x) => 1 - 2 / (exp(2 * x) + 1),
  sigmoid,
  relu: (x) => Math.max(x, 0),
  hard_sigmoid: (x) => clip(x / 6 + 0.5),
  keras2_hard_sigmoid: (x) => clip(0.2 * x + 0.5),
  elu,
  selu: (x) => 1.0507009873554805 * (x > 0 ? x : 1.6732632423543772 * elu(x)),
  silu: (x) => x * sigmoid(x),
  softsign: (x) => x / (1 + Math.abs(x)),
  exponential: exp,
};

// Adds W x to y, for some rows of W, which are stored one after the other. This loop is
// most of the work: eight rows share each number of x.
function product(w, x, y, from = 0, to = y.length) {
  const n = x.length;
  let row = from;
  for (; row + 8 <= to; row += 8) {
    let a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0;
    const r0 = row * n, r1 = r0 + n, r2 = r1 + n, r3 = r2 + n;
    const r4 = r3 + n, r5 = r4 + n, r6 = r5 + n, r7 = r6 + n;
    for (let i = 0; i < n; i++) {
      const value = x[i];
      a += w[r0 + i] * value;
      b += w[r1 + i] * value;
      c += w[r2 + i] * value;
      d += w[r3 + i] * value;
      e += w[r4 + i] * value;
      f += w[r5 + i] * value;
      g += w[r6 + i] * value;
      h += w[r7 + i] * value;
    }
    y[row] += a;
    y[row + 1] += b;
    y[row + 2] += c;
    y[row + 3] += d;
    y[row + 4] += e;
    y[row + 5] += f;
    y[row + 6] += g;
    y[row + 7] += h;
  }
  for (; row < to; row++) {
    let sum = 0;
    for (let i = 0, at = row * n; i < n; i++, at++) sum += w[at] * x[i];
    y[row] += sum;
  }
}

// Returns a function that adds the product of a kernel and x to y. With `lookup`, x is
// an id: the product with its one-hot vector is a row; -1 is the zero vector.
function kernel({ inputs, lookup }, outputs, take) {
  const w = take(inputs * outputs);
  if (!lookup) return (x, y) => product(w, x, y);
  return (id, y) => {
    if (id < 0) return;
    for (let i = 0, at = id * outputs; i < outputs; i++, at++) y[i] += w[at];
  };
}

// Each function makes a layer from its description. `take(n)` returns the next n
// weights. A layer has a step, and the states that it carries from step to step.
const LAYERS = {
  embedding({ inputs, units, shared }, take) {
    const table = (shared.table = take(inputs * units));
    const y = new Float64Array(units);
    return {
      step(id) {
        if (id < 0) y.fill(0);
        else y.set(table.subarray(id * units, (id + 1) * units));
        return y;
      },
    };
  },

  dense(d, take) {
    const y = new Float64Array(d.units);
    const tied = (x) => product(d.shared.table, x, y);
    const add = d.tied ? tied : kernel(d, d.units, take);
    const bias = take(d.units);
    const activation = ACTIVATIONS[d.activation];
    return {
      step(x) {
        y.set(bias);
        add(x, y);
        if (d.activation !== "linear")
          for (let i = 0; i < y.length; i++) y[i] = activation(y[i]);
        return y;
      },
    };
  },

  activation(d) {
    return { step: (x) => x.map(ACTIVATIONS[d.activation]) };
  },

  layer_norm({ units, epsilon }, take) {
    const gamma = take(units), beta = take(units), y = new Float64Array(units);
    return {
      step(x) {
        let mean = 0, variance = 0;
        for (let i = 0; i < units; i++) mean += x[i] / units;
        for (let i = 0; i < units; i++) variance += (x[i] - mean) ** 2 / units;
        const scale = 1 / Math.sqrt(variance + epsilon);
        for (let i = 0; i < units; i++)
          y[i] = (x[i] - mean) * scale * gamma[i] + beta[i];
        return y;
      },
    };
  },

  simple_rnn(d, take) {
    const n = d.units, add = kernel(d, n, take);
    const recurrent = take(n * n), bias = take(n);
    const activation = ACTIVATIONS[d.activation];
    const h = new Float64Array(n), z = new Float64Array(n);
    return {
      states: [h],
      step(x) {
        z.set(bias);
        add(x, z);
        product(recurrent, h, z);
        for (let i = 0; i < n; i++) h[i] = activation(z[i]);
        return h;
      },
    };
  },

  // The gates: update, reset, candidate.
  gru(d, take) {
    const n = d.units, add = kernel(d, 3 * n, take);
    const recurrent = take(3 * n * n), bias = take(3 * n), recurrentBias = take(3 * n);
    const activation = ACTIVATIONS[d.activation], gate = ACTIVATIONS[d.gates];
    const h = new Float64Array(n), kept = new Float64Array(n);
    const z = new Float64Array(3 * n), p = new Float64Array(3 * n);
    return {
      states: [h],
      step(x) {
        z.set(bias);
        add(x, z);
        p.set(recurrentBias);
        product(recurrent, h, p, 0, d.reset_after ? 3 * n : 2 * n);
        if (!d.reset_after) {
          for (let i = 0; i < n; i++) kept[i] = gate(z[n + i] + p[n + i]) * h[i];
          product(recurrent, kept, p, 2 * n);
        }
        for (let i = 0; i < n; i++) {
          const update = gate(z[i] + p[i]);
          const reset = d.reset_after ? gate(z[n + i] + p[n + i]) : 1;
          const candidate = activation(z[2 * n + i] + reset * p[2 * n + i]);
          h[i] = candidate + update * (h[i] - candidate);
        }
        return h;
      },
    };
  },

  // The gates: input, forget, candidate, output.
  lstm(d, take) {
    const n = d.units, add = kernel(d, 4 * n, take);
    const recurrent = take(4 * n * n), bias = take(4 * n);
    const activation = ACTIVATIONS[d.activation], gate = ACTIVATIONS[d.gates];
    const h = new Float64Array(n), c = new Float64Array(n), z = new Float64Array(4 * n);
    return {
      states: [h, c],
      step(x) {
        z.set(bias);
        add(x, z);
        product(recurrent, h, z);
        for (let i = 0; i < n; i++) {
          const candidate = gate(z[i]) * activation(z[2 * n + i]);
          c[i] = gate(z[n + i]) * c[i] + candidate;
          h[i] = gate(z[3 * n + i]) * activation(c[i]);
        }
        return h;
      },
    };
  },
};

// How the model reads ids: with a state that it carries from id to id, or, if it has a
// window, anew over the last ids for each prediction. The methods with * pause after
// each step, so that the page can do other things.
class Reader {
  constructor({ layers, window, start, start_step: startStep }, weights) {
    let used = 0;
    const take = (count) => weights.subarray(used, (used += count));
    const shared = {};
    const made = layers.map((layer) => LAYERS[layer.kind]({ ...layer, shared }, take));
    const carried = made.findLastIndex((layer) => layer.states) + 1;
    this.body = made.slice(0, carried); // what depends on earlier steps
    this.head = made.slice(carried); // only needed for a prediction
    this.states = made.flatMap((layer) => layer.states ?? []);
    Object.assign(this, { window, start, startStep });
  }

  // Starts a text with ids, which may be none.
  *begin(ids) {
    this.reset();
    if (this.startStep || !ids.length) ids = [this.start, ...ids];
    yield* this.read(ids);
  }

  reset() {
    for (const state of this.states) state.fill(0);
    if (this.window) this.last = new Array(this.window).fill(this.start);
  }

  *read(ids) {
    if (this.window) {
      ids = this.last = [...this.last, ...ids].slice(-this.window);
      for (const state of this.states) state.fill(0);
    }
    for (const id of ids) {
      this.features = this.body.reduce((x, layer) => layer.step(x), id);
      yield;
    }
  }

  logits() {
    return this.head.reduce((x, layer) => layer.step(x), this.features);
  }
}
