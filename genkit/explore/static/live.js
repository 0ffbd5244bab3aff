// The backend of the live page: each method asks the server that served it.

/** The methods of a backend, answered under the address `base`, which ends in a slash, or else beside the page. */
export function openBackend(base = "") {
  async function ask(name, body, type) {
    let answer;
    try {
      answer = await fetch(base + name, {
        method: body === undefined ? "GET" : "POST",
        headers: body === undefined ? {} : { "Content-Type": type || "application/octet-stream" },
        body,
        cache: "no-store",
        credentials: "omit",
      });
    } catch {
      throw gone();
    }
    if (!answer.ok) throw new Error((await answer.text()).trim() || `The server answered ${answer.status}.`);
    return answer;
  }

  async function bytes(name, body) {
    const answer = await ask(name, body);
    try {
      return await answer.arrayBuffer();
    } catch {
      throw gone(); // it ended in the middle of an answer
    }
  }

  let dims = 0; // numbers in a code, which `about` says
  const pixels = (buffer, offset) => new Uint8ClampedArray(buffer, offset || 0);
  const indices = (numbers) => Int32Array.from(numbers);

  /** A body, behind the condition that the decoder is told, where it is told one. */
  const told = (body) => (backend.condition ? new Blob([backend.condition, body]) : body);

  const backend = {
    condition: null, // float32: a class's number, or each attribute's share
    about: async () => {
      const about = await (await ask("about.json")).json();
      dims = about.latent_dim;
      return about;
    },
    points: async () => new Float32Array(await bytes("points.bin")),
    labels: async () => new Int16Array(await bytes("labels.bin")),
    decode: async (codes) => pixels(await bytes("decode", told(codes))),
    under: async (x, y) => {
      const answer = await bytes("under", told(Float32Array.of(x, y)));
      return { code: new Float32Array(answer, 0, dims), pixels: pixels(answer, 4 * dims) };
    },
    place: async (codes) => new Float32Array(await bytes("place", told(codes))),
    originals: async (numbers) => pixels(await bytes("originals", indices(numbers))),
    codes: async (numbers) => new Float32Array(await bytes("codes", indices(numbers))),
    seeds: async (numbers) => new Float32Array(await bytes("seeds", told(Uint32Array.from(numbers)))),
    near: async (code) => new Int32Array(await bytes("near", told(code))),
    sum: async (terms) => {
      const condition = backend.condition ? { condition: Array.from(backend.condition) } : {};
      const body = JSON.stringify({ terms: terms.map(written), ...condition });
      const answer = await (await ask("sum", body, "application/json")).json();
      return {
        ...answer,
        code: Float32Array.from(answer.code),
        pixels: unpacked(answer.pixels),
        control: unpacked(answer.control),
        near: indices(answer.near),
      };
    },
    file: async (blob, onProgress) => {
      const answer = await ask("file", told(blob));
      let last = null;
      for await (const line of lines(answer.body)) {
        const message = JSON.parse(line);
        if (message.error) throw new Error(message.error);
        if (message.code) last = message;
        else onProgress(message.done, message.of);
      }
      if (!last) throw gone();
      return { ...last, code: Float32Array.from(last.code), pixels: unpacked(last.pixels) };
    },
  };
  return backend;
}

function gone() {
  const error = new Error("The server doesn't answer any more: start genkit explore again, and open its address.");
  error.gone = true;
  return error;
}

/** A term as JSON can hold it. */
function written({ sign, term }) {
  if (typeof term === "string") return { sign, term };
  return { sign, term: { code: Array.from(term.code), pixels: packed(term.pixels) } };
}

function packed(pixels) {
  let text = "";
  for (const byte of pixels) text += String.fromCharCode(byte);
  return btoa(text);
}

function unpacked(base64) {
  return Uint8ClampedArray.from(atob(base64), (letter) => letter.charCodeAt(0));
}

/** The lines of a stream of UTF-8, each as soon as it is whole. */
async function* lines(stream) {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch(() => {
      throw gone();
    });
    rest += decoder.decode(value, { stream: !done });
    const whole = rest.split("\n");
    rest = done ? "" : whole.pop();
    for (const line of whole) if (line.trim()) yield line;
    if (done) return;
  }
}
