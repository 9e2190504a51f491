// @ts-check
/**
 * Queues new rows while the reader uses the list: the newest of each id, and no more than the list shows. Pure.
 * @template Row
 */
export class RowQueue {
  #keep;
  /** @type {Map<number, Row>} */
  #rows = new Map();
  #more = 0;

  /** @param {number} keep */
  constructor(keep) {
    this.#keep = keep;
  }

  /**
   * @param {number} id
   * @param {Row} row
   */
  add(id, row) {
    this.#rows.set(id, row);
    if (this.#rows.size <= this.#keep) return;
    this.#rows.delete(Math.min(...this.#rows.keys()));
    this.#more += 1;
  }

  /** How many rows are new, including those that the list is too short for. */
  get count() {
    return this.#rows.size + this.#more;
  }

  /** Empties the queue and returns its rows, oldest first. */
  take() {
    const rows = [...this.#rows].sort(([one], [other]) => one - other).map(([, row]) => row);
    this.clear();
    return rows;
  }

  clear() {
    this.#rows.clear();
    this.#more = 0;
  }
}
