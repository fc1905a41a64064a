// From logits to text.

// A generator of random numbers in [0, 1): xoshiro128** of Blackman and Vigna. Its
// state is filled from the seed, an integer of up to 53 bits.
function randomNumbers(seed) {
  const state = new Uint32Array(4);
  let mixed = (seed >>> 0) ^ Math.imul(Math.floor(seed / 2 ** 32), 0x85ebca6b);
  for (let i = 0; i < 4; i++) {
    mixed = (mixed + 0x9e3779b9) | 0;
    let z = mixed;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    state[i] = z ^ (z >>> 16);
  }
  const turn = (x, k) => (x << k) | (x >>> (32 - k));
  function next() {
    const result = Math.imul(turn(Math.imul(state[1], 5), 7), 9) >>> 0;
    const shifted = state[1] << 9;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = turn(state[3], 11);
    return result;
  }
  return () => ((next() >>> 5) * 2 ** 26 + (next() >>> 6)) / 2 ** 53;
}

// Sets all but the most probable numbers to 0: the fewest whose sum reaches `share`.
function keepTop(probabilities, share) {
  const total = probabilities.reduce((sum, each) => sum + each, 0);
  // Smaller ones cannot be among them: together they are at most 1 - share.
  const least = (total * (1 - share)) / probabilities.length;
  const order = [];
  probabilities.forEach((each, id) => each >= least && order.push(id));
  order.sort((a, b) => probabilities[b] - probabilities[a] || a - b);
  const kept = new Map();
  for (let i = 0, before = 0; i < order.length && before < share * total; i++) {
    kept.set(order[i], probabilities[order[i]]);
    before += probabilities[order[i]];
  }
  probabilities.fill(0);
  for (const [id, each] of kept) probabilities[id] = each;
}

// Draws an id from softmax(logits / temperature); 0 takes the largest logit. `random`
// is the only source of chance.
function sample(logits, temperature, topP, random) {
  let best = 0;
  for (let id = 1; id < logits.length; id++) if (logits[id] > logits[best]) best = id;
  if (temperature === 0) return best;
  const probabilities = Float64Array.from(logits, (logit) =>
    exp((logit - logits[best]) / temperature),
  );
  if (topP < 1) keepTop(probabilities, topP);
  const limit = random() * probabilities.reduce((sum, each) => sum + each, 0);
  for (let id = 0, sum = 0; id < probabilities.length; id++) {
    sum += probabilities[id];
    if (probabilities[id] > 0 && sum > limit) return id;
  }
  return best;
}

// Yields the text of each new token, and null after other steps, where the page may do
// something else. It ends at the end token of the model, if it has one.
function* writing(reader, decode, ids, end, settings) {
  yield* reading(reader.begin(ids));
  for (;;) {
    const { temperature, topP, random } = settings;
    const id = sample(reader.logits(), temperature, topP, random);
    if (id === end) return;
    yield decode(id);
    yield* reading(reader.read([id]));
  }
}

function* reading(steps) {
  for (const _ of steps) yield null;
}
