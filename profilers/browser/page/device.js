// What the browser tells about itself and the phone. Plain http hides most of it, so people type the phone's name.

/** A name as profiles are called: lower case letters, digits, '.', '_' and '-'. */
export function deviceName(typed) {
  const plain = typed.normalize('NFKD').toLowerCase();
  return plain.replace(/[^a-z0-9._]+/g, '-').replace(/^[-._]+|[-._]+$/g, '').slice(0, 64).replace(/[-._]+$/, '');
}

/** Text as the server takes it: printable ASCII, not too long. */
export function printable(text, longest) {
  return String(text ?? '').replace(/[^\x20-\x7e]+/g, ' ').trim().slice(0, longest);
}

/** Browser and system by the user agent string. Chrome on Android writes 'Android 10; K' whatever is true. */
export function fromUserAgent(userAgent) {
  const find = (pattern) => userAgent.match(pattern)?.[1] ?? '';
  const names = [
    ['Edge', /Edg(?:A|iOS)?\/([\d.]+)/],
    ['Samsung Internet', /SamsungBrowser\/([\d.]+)/],
    ['Opera', /OPR\/([\d.]+)/],
    ['Firefox', /(?:Firefox|FxiOS)\/([\d.]+)/],
    ['Chrome', /(?:Chrome|CriOS)\/([\d.]+)/],
    ['Safari', /Version\/([\d.]+).*Safari/],
  ];
  const [name, pattern] = names.find(([, one]) => one.test(userAgent)) ?? ['unknown browser', /$^/];
  let os = 'unknown system';
  if (/iPhone|iPad|iPod/.test(userAgent)) os = `iOS ${find(/OS (\d+[\d_]*)/).replaceAll('_', '.')}`;
  else if (/Android/.test(userAgent)) os = /Android 10; K\)/.test(userAgent) ? 'Android' : `Android ${find(/Android ([\d.]+)/)}`;
  else if (/Windows/.test(userAgent)) os = 'Windows';
  else if (/Mac OS X/.test(userAgent)) os = 'macOS';
  else if (/CrOS/.test(userAgent)) os = 'ChromeOS';
  else if (/Linux/.test(userAgent)) os = 'Linux';
  return { browser: `${name} ${find(pattern)}`.trim(), os: os.trim() };
}

/** iPadOS calls itself a Mac. */
export function isIos() {
  return /iPhone|iPad|iPod/.test(navigator.userAgent) || (navigator.platform === 'MacIntel' && navigator.maxTouchPoints > 1);
}

/** The step of performance.now() in milliseconds: the smallest that is seen. */
export function timerStep() {
  let step = Infinity;
  const end = performance.now() + 300;
  for (let seen = 0, last = performance.now(); seen < 40; ) {
    const now = performance.now();
    if (now > last) {
      step = Math.min(step, now - last);
      last = now;
      seen += 1;
    }
    if (now > end) break;
  }
  return Number.isFinite(step) ? step : 300;
}

async function adapter() {
  try {
    const found = await navigator.gpu?.requestAdapter({ powerPreference: 'high-performance' });
    if (!found) return null;
    const info = found.info ?? {};
    return {
      vendor: printable(info.vendor, 128),
      architecture: printable(info.architecture, 128),
      description: printable(info.description, 256),
      fallback: Boolean(info.isFallbackAdapter ?? found.isFallbackAdapter),
    };
  } catch {
    return null;
  }
}

/** A processor that imitates a GPU; the server judges by the same names. */
export function isSoftware(found) {
  const told = `${found.vendor} ${found.architecture} ${found.description}`.toLowerCase();
  return found.fallback || ['swiftshader', 'llvmpipe', 'lavapipe', 'software', 'warp'].some((name) => told.includes(name));
}

/** What is sent along with the measurement. */
export async function environment() {
  const told = fromUserAgent(navigator.userAgent);
  let model = '';
  try {
    const hints = ['model', 'platformVersion', 'fullVersionList'];
    const high = await navigator.userAgentData?.getHighEntropyValues(hints);
    if (high) {
      model = high.model ?? '';
      const brands = (high.fullVersionList ?? []).filter(({ brand }) => !/not.?a.?brand/i.test(brand.replace(/[^a-z]/gi, '')));
      const brand = brands.find((one) => one.brand !== 'Chromium') ?? brands[0];
      if (brand) told.browser = `${brand.brand} ${brand.version}`;
      if (high.platform) told.os = `${high.platform} ${high.platformVersion ?? ''}`;
    }
  } catch {
    // What the user agent string says has to do.
  }
  return {
    user_agent: printable(navigator.userAgent, 512),
    browser: printable(told.browser, 128),
    os: printable(told.os, 128),
    model: printable(model, 128),
    cores: navigator.hardwareConcurrency ?? 0,
    isolated: Boolean(globalThis.crossOriginIsolated && typeof SharedArrayBuffer === 'function'),
    timer_step_ms: timerStep(),
    adapter: await adapter(),
  };
}
