// Measures one phase (threads, processor or GPU) apart from the page, so that drawing does not get between.

import { timerStep } from './device.js';
import { fill, statistics } from './generate.js';

// A timing takes at least so many steps of the clock, and so many milliseconds.
const STEPS = 50;
const TIMING_MS = 5;
// What takes less per run is timed in batches until so many in a row were no quicker by so much, or for so long:
// weights get into the cache that holds them only in the course of some runs (profilers/_rounds.py).
const SHORT_MS = 20;
const STEADY_BATCHES = 3;
const QUICKER = 0.01;
const VISIT_MS = 200;
const MAX_RUNS = 5000;
// Nothing of onnxruntime-web ends by itself where its WebAssembly or a thread cannot be loaded.
const LOADING_MS = 180_000;
const RETRY_MS = [500, 1000, 2000, 4000, 8000, 15000, 30000, 60000];

const base = new URL('.', import.meta.url);
let hidden = false;
let disturbed = false;
let wake = null;

onmessage = ({ data }) => {
  if (data.type === 'start') {
    measure(data).catch((error) => {
      postMessage({ type: 'failed', status: error.status ?? 0, text: String(error.message ?? error) });
    });
  } else if (data.type === 'hidden') {
    hidden = data.hidden;
    disturbed ||= hidden;
    if (!hidden) wake?.();
  }
};

class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

async function post(path, message) {
  for (let attempt = 0; ; attempt++) {
    try {
      const headers = { 'Content-Type': 'application/json' };
      const answer = await fetch(new URL(path, base), { method: 'POST', headers, body: JSON.stringify(message) });
      const said = await answer.json();
      if (!answer.ok) throw new Refused(answer.status, said.error);
      return said;
    } catch (error) {
      // fetch throws a TypeError where nobody answers; the computer may come back.
      if (error instanceof Refused || attempt >= RETRY_MS.length) throw error;
      tell('The computer does not answer; trying again …');
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS[attempt]));
    }
  }
}

async function download(path) {
  const answer = await fetch(new URL(path, base));
  if (!answer.ok) throw new Refused(answer.status, `The computer does not give ${path}.`);
  return new Uint8Array(await answer.arrayBuffer());
}

function tell(text, share) {
  postMessage({ type: 'progress', text, share });
}

/** Let messages in, such as that the page was hidden. */
function breathe() {
  return new Promise((resolve) => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => {
      channel.port1.close();
      resolve();
    };
    channel.port2.postMessage(null);
  });
}

/** Sessions of the kit's models; where memory is small, only those used last are kept. */
class Sessions {
  constructor(ort, kit, delegate, memoryBytes) {
    Object.assign(this, { ort, kit, delegate, memoryBytes, open: new Map(), bytes: 0, graphs: [] });
  }

  async get(number) {
    const found = this.open.get(number);
    if (found) {
      this.open.delete(number);
      this.open.set(number, found);
      return found;
    }
    const made = await this.make(number);
    this.open.set(number, made);
    this.bytes += made.bytes;
    for (const [other, session] of this.open) {
      if (this.bytes <= this.memoryBytes || other === number) break;
      this.open.delete(other);
      this.bytes -= session.bytes;
      await session.session.release();
    }
    return made;
  }

  async make(number) {
    const model = this.kit.models[number];
    this.graphs[number] ??= await download(`models/${number}.onnx`);
    const count = model.weights.reduce((sum, weight) => sum + weight[1], 0);
    const data = new Float32Array(count);
    let at = 0;
    for (const [seed, length, scale, mean] of model.weights) {
      fill(data.subarray(at, at + length), seed, scale, mean);
      at += length;
    }
    const gpu = this.delegate === 'webgpu';
    const session = await this.ort.InferenceSession.create(this.graphs[number], {
      executionProviders: [gpu ? 'webgpu' : 'wasm'],
      graphOptimizationLevel: 'all',
      ...(gpu ? { preferredOutputLocation: 'gpu-buffer' } : {}),
      ...(count ? { externalData: [{ path: 'w.bin', data: new Uint8Array(data.buffer) }] } : {}),
    });
    const feeds = {};
    for (const [name, [shape, [seed, length, scale, mean]]] of Object.entries(model.inputs)) {
      const values = new Float32Array(length);
      fill(values, seed, scale, mean);
      feeds[name] = new this.ort.Tensor('float32', values, shape);
    }
    return { session, feeds, output: model.output, bytes: 4 * count, warm: false };
  }

  /** Run so many times in a row; the GPU is waited for once, at the end. */
  async run(made, times) {
    let last = null;
    for (let at = 0; at < times; at++) {
      last?.dispose();
      last = (await made.session.run(made.feeds))[made.output];
    }
    return last;
  }

  async batch(made, times) {
    const began = performance.now();
    const last = await this.run(made, times);
    if (this.delegate) await last.getData();
    const took = performance.now() - began;
    last.dispose();
    return took;
  }
}

async function check(sessions, runId) {
  const outputs = [];
  for (const [number, model] of sessions.kit.models.entries()) {
    tell(`Checking ${number + 1} of ${sessions.kit.models.length}`, 0);
    const made = await sessions.get(number);
    const last = await sessions.run(made, 1);
    outputs.push(statistics(await last.getData(), model.places));
    last.dispose();
    await breathe();
  }
  return post('outputs', { run: runId, outputs });
}

/** How often each model runs for one timing. */
async function plan(sessions, target, step) {
  const plans = [];
  for (const number of sessions.kit.models.keys()) {
    tell(`Warming up ${number + 1} of ${sessions.kit.models.length}`, 0);
    const made = await sessions.get(number);
    await sessions.batch(made, 2);
    let runs = 1;
    let took = await sessions.batch(made, runs);
    while (took < Math.max(10 * step, 1) && runs < MAX_RUNS) {
      runs *= 2;
      took = await sessions.batch(made, runs);
    }
    const each = took / runs;
    const short = each < SHORT_MS;
    const timed = Math.min(Math.max(Math.ceil(target / each), 1), MAX_RUNS);
    const steady = short ? STEADY_BATCHES : 0;
    plans.push({ untimed: short ? 0 : 1, timed, steady, ms: each * timed * (1 + steady) });
    await breathe();
  }
  return plans;
}

async function quickest(sessions, made, { untimed, timed, steady }) {
  if (untimed) await sessions.batch(made, untimed);
  let best = await sessions.batch(made, timed);
  let spent = best;
  let since = 0;
  while (since < steady && spent < VISIT_MS) {
    const took = await sessions.batch(made, timed);
    spent += took;
    since = took < (1 - QUICKER) * best ? 0 : since + 1;
    best = Math.min(best, took);
  }
  return best;
}

async function round(sessions, plans, note) {
  const count = plans.length;
  const order = Array.from({ length: count - 1 }, (_, at) => at + 1);
  for (let at = order.length - 1; at > 0; at--) {
    const other = Math.floor(Math.random() * (at + 1));
    [order[at], order[other]] = [order[other], order[at]];
  }
  const timings = [];
  const take = async (number) => {
    const made = await sessions.get(number);
    const took = await quickest(sessions, made, plans[number]);
    // A coarse clock may not have moved; half its step is what is known then.
    timings.push([number, Math.max(took, sessions.step / 2) / plans[number].timed]);
  };
  const every = Math.max(20, 4 * plans[0].ms);
  let since = Infinity;
  for (const [at, number] of order.entries()) {
    if (since > every) {
      await take(0);
      since = 0;
    }
    await take(number);
    since += plans[number].ms;
    if (at % 8 === 0) note(at / order.length);
    await breathe();
    if (disturbed) return null;
  }
  await take(0);
  return timings;
}

/** onnxruntime-web, set up for a phase. */
async function loadRuntime({ threads, delegate }) {
  const gpu = delegate === 'webgpu';
  const ort = await import(new URL(`ort/${gpu ? 'ort.webgpu' : 'ort.wasm'}.min.mjs`, base));
  const name = `ort/ort-wasm-simd-threaded${gpu ? '.asyncify' : ''}`;
  // Every thread loads this script again. Behind a certificate that is not trusted Chromium now and then aborts that
  // (3 of 40 times in version 150), and the runtime waits forever; from memory it cannot.
  const script = new Blob([await download(`${name}.mjs`)], { type: 'text/javascript' });
  ort.env.logLevel = 'error';
  ort.env.wasm.wasmPaths = { mjs: URL.createObjectURL(script), wasm: new URL(`${name}.wasm`, base).href };
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.initTimeout = LOADING_MS;
  return ort;
}

async function measure({ kit, begin, memoryBytes, coolingMs }) {
  let state = await post('begin', begin);
  if (state.state === 'done') return postMessage({ type: 'done', ...state });
  tell('Loading onnxruntime-web …', 0);
  const ort = await loadRuntime(begin);
  const sessions = new Sessions(ort, kit, begin.delegate, memoryBytes);
  state = await check(sessions, state.run);
  sessions.step = timerStep();
  const target = Math.max(TIMING_MS, STEPS * sessions.step);
  const plans = state.state === 'done' ? [] : await plan(sessions, target, sessions.step);
  while (state.state !== 'done') {
    if (hidden) {
      tell('Paused: this page is not in front.', state.share);
      await new Promise((resolve) => { wake = resolve; });
      wake = null;
    }
    disturbed = false;
    const number = state.round + 1;
    const began = performance.now();
    const timings = await round(sessions, plans, () => tell(`Round ${number}`, state.share));
    if (timings === null) {
      tell(`Round ${number} was thrown away, for the page was not in front.`, state.share);
      continue;
    }
    const seconds = (performance.now() - began) / 1000;
    const { run, attempt } = state;
    state = await post('round', { run, attempt, round: number, seconds, timings });
    if (state.text) {
      tell(`It was ${state.text} after a pause. Close other apps and let the phone cool.`, 0);
      await new Promise((resolve) => setTimeout(resolve, coolingMs));
    }
  }
  postMessage({ type: 'done', ...state });
}
