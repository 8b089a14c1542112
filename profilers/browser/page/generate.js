// Weights that are not shipped: a hash of the index gives every value. profilers/browser/weights.py is the same
// function; both round to float32 after every step, so that they agree in every bit.

function mixed(value) {
  let h = value >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** Fill a Float32Array with mean + scale * u, u uniform in [-1, 1) by the seed and the index. */
export function fill(values, seed, scale, mean) {
  const start = mixed(seed);
  for (let index = 0; index < values.length; index++) {
    const h = mixed((Math.imul(index, 0x9e3779b1) + start) | 0);
    const u = (h >>> 8) * 2 ** -23 - 1;
    values[index] = Math.fround(u * scale) + mean;
  }
}

/** Mean, mean absolute value, standard deviation and the values at the given places. */
export function statistics(values, places) {
  let sum = 0;
  let absolute = 0;
  let squares = 0;
  for (const value of values) {
    sum += value;
    absolute += Math.abs(value);
    squares += value * value;
  }
  const mean = sum / values.length;
  const std = Math.sqrt(Math.max(squares / values.length - mean * mean, 0));
  return { mean, mean_abs: absolute / values.length, std, samples: places.map((place) => values[place]) };
}
