// What went wrong, as a code and values: the page says it in the reader's language (texts.json), a target in English.

export class Trouble extends Error {
  constructor(code, values = {}) {
    super(`${code} ${JSON.stringify(values)}`);
    this.code = code;
    this.values = values;
  }

  /** What crosses to another thread. */
  get record() {
    return { code: this.code, values: this.values };
  }

  /** The same for anything that was thrown. */
  static record(error) {
    if (error instanceof Trouble) return error.record;
    return { code: "unexpected", values: { what: String(error?.message ?? error) } };
  }

  static from({ code, values }) {
    return new Trouble(code, values);
  }
}
