// What people see: asks for the phone's name, lets workers measure one phase after another, and shows the results.

import { deviceName, environment, isIos, isSoftware } from './device.js';

// Weights of models that stay loaded; iOS ends pages that take much.
const MEMORY_BYTES = 512 * 2 ** 20;
const MEMORY_BYTES_IOS = 96 * 2 ** 20;

const base = new URL('.', import.meta.url);
const at = (id) => document.getElementById(id);
let worker = null;

/** Kept by the browser where it may be, so that a page that was reloaded is known again. */
const kept = {
  get: (key) => {
    try {
      return localStorage.getItem(`subdit.${key}`) ?? '';
    } catch {
      return '';
    }
  },
  set: (key, value) => {
    try {
      localStorage.setItem(`subdit.${key}`, value);
    } catch {
      // Then the name is typed again.
    }
  },
};

function clientId() {
  let id = kept.get('client');
  if (!/^[0-9a-f]{32}$/.test(id)) {
    id = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
    kept.set('client', id);
  }
  return id;
}

async function post(path, message) {
  const headers = { 'Content-Type': 'application/json' };
  return fetch(new URL(path, base), { method: 'POST', headers, body: JSON.stringify(message) });
}

function showError(text) {
  at('error').textContent = text;
  at('error').hidden = !text;
}

/** What this browser can measure of what was asked for, and why not the rest. */
function phasesOf(kit, where) {
  const phases = [{ threads: 1, delegate: null, text: 'One thread' }];
  const notes = [];
  if (isIos() && (kit.threads > 1 || kit.webgpu)) {
    notes.push('On iOS one thread is measured, for browsers there run out of memory with more.');
    return { phases, notes };
  }
  if (kit.threads > 1) {
    if (where.isolated) phases.push({ threads: kit.threads, delegate: null, text: `${kit.threads} threads` });
    else notes.push('Threads need https or a cable: they are left out here.');
  }
  if (kit.webgpu) {
    if (!isSecureContext) notes.push('WebGPU needs https or a cable: the GPU is left out here.');
    else if (!where.adapter) notes.push('There is no WebGPU here: the GPU is left out.');
    else if (isSoftware(where.adapter)) notes.push('The GPU is imitated by the processor here: it is left out.');
    else phases.push({ threads: 1, delegate: 'webgpu', text: 'GPU' });
  }
  return { phases, notes };
}

let lock = null;
async function keepScreenOn() {
  try {
    lock = await navigator.wakeLock?.request('screen');
  } catch {
    lock = null;
  }
  at('hint').textContent = lock ? 'Leave this page in front.' : 'Leave this page in front and the screen on.';
}

document.addEventListener('visibilitychange', () => {
  worker?.postMessage({ type: 'hidden', hidden: document.hidden });
  if (!document.hidden && worker) keepScreenOn();
});

function measure(kit, begin) {
  return new Promise((resolve, reject) => {
    worker = new Worker(new URL('worker.js', base), { type: 'module' });
    worker.onmessage = ({ data }) => {
      if (data.type === 'progress') {
        at('step').textContent = data.text;
        if (data.share !== undefined) at('bar').value = data.share;
      } else if (data.type === 'done') resolve(data);
      else reject(Object.assign(new Error(data.text), { status: data.status }));
    };
    worker.onerror = (event) => reject(new Error(event.message || 'The measurement stopped, perhaps for want of memory.'));
    const memoryBytes = isIos() ? MEMORY_BYTES_IOS : MEMORY_BYTES;
    worker.postMessage({ type: 'start', kit, begin, memoryBytes, coolingMs: kit.cooling_s * 1000 });
    worker.postMessage({ type: 'hidden', hidden: document.hidden });
  }).finally(() => {
    worker.terminate();
    worker = null;
  });
}

function addResult(result) {
  const line = document.createElement('p');
  line.textContent = result.noisy
    ? `Measured, but the phone was too noisy to rank models by it: ${result.id}`
    : `Measured and saved on the computer: ${result.id}`;
  if (result.noisy) line.className = 'noisy';
  at('results').append(line);
}

async function run(kit, where, name, phases, done) {
  const client = clientId();
  at('form').hidden = true;
  at('again').hidden = true;
  at('work').hidden = false;
  showError('');
  await keepScreenOn();
  try {
    for (const phase of phases.slice(done.length)) {
      const { threads, delegate } = phase;
      at('phase').textContent = `${phase.text}, ${done.length + 1} of ${phases.length}`;
      at('bar').value = 0;
      const result = await measure(kit, { name, client, threads, delegate, environment: where });
      addResult(result);
      done.push(result);
    }
    await post('finish', { client });
    at('what').textContent = 'Done. Thank you! You can close this page.';
  } catch (error) {
    const text = String(error.message ?? error);
    showError(text);
    if (error.status === 409 && !done.length) at('form').hidden = false;
    else at('again').hidden = false;
    const said = text.replace(/[^\x20-\x7e]+/g, ' ').slice(0, 500);
    // A refusal came from the computer, which knows it.
    if (!error.status) await post('problem', { name: name.slice(0, 64), text: said }).catch(() => {});
    at('again').onclick = () => run(kit, where, name, phases, done);
  } finally {
    at('work').hidden = true;
    await lock?.release().catch(() => {});
  }
}

async function start() {
  const answer = await fetch(new URL('kit.json', base));
  if (!answer.ok) throw new Error('The computer does not answer; start it again and scan its new code.');
  const kit = await answer.json();
  const where = await environment();
  const { phases, notes } = phasesOf(kit, where);
  at('what').textContent =
    `This page runs ${kit.models.length} small pieces of the model “${kit.space}” in ${where.browser}. It sends their ` +
    'times, the name below and the versions of browser and system to the computer that showed the code, and ' +
    'to nobody else. It takes some minutes.';
  at('modes').textContent = [`Measured: ${phases.map((phase) => phase.text.toLowerCase()).join(', ')}.`, ...notes].join(' ');
  const input = at('name');
  const showName = () => {
    at('as').textContent = deviceName(input.value) || '…';
  };
  input.value = kit.device ?? (kept.get('name') || deviceName(where.model));
  input.readOnly = Boolean(kit.device);
  input.oninput = showName;
  showName();
  at('form').hidden = false;
  at('form').onsubmit = (event) => {
    event.preventDefault();
    const name = deviceName(input.value);
    if (!name) return showError('Type a name of letters and digits.');
    kept.set('name', name);
    run(kit, where, name, phases, []);
  };
}

start().catch((error) => {
  at('what').textContent = '';
  showError(String(error.message ?? error));
});
