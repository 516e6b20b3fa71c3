// The parts of one set, opened when they are first needed, and kept.

/** All parts of one set, opened when they are first needed. */
export class PartShelf {
  #opened = new Map();

  constructor(litert, bundle, set, onBytes = () => {}) {
    Object.assign(this, { litert, bundle, set, onBytes });
    this.waited = 0; // milliseconds, for parts that had to be fetched
    this.part = this.part.bind(this);
  }

  /** The part, or a promise of it where it is not here yet. */
  part(name) {
    const there = this.#opened.get(name);
    if (there) return there;
    const coming = this.#fetch(name);
    this.#opened.set(name, coming);
    return coming;
  }

  async #fetch(name) {
    const start = performance.now();
    try {
      const artifact = this.set.parts[name];
      const bytes = await this.bundle.read(artifact, (count) => this.onBytes(name, count, artifact.bytes));
      const opened = await this.litert.open(bytes, this.bundle.manifest.parts[name]);
      this.#opened.set(name, opened);
      return opened;
    } catch (error) {
      this.#opened.delete(name); // another try may succeed
      throw error;
    } finally {
      this.waited += performance.now() - start;
    }
  }

  close() {
    for (const part of this.#opened.values()) if (!(part instanceof Promise)) part.close();
    this.#opened.clear();
  }
}
