// @ts-check
/**
 * New rows that wait until nobody reads any more: the newest of each id, and no more of them than the list shows. Pure.
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

  /** How many are new, those that the list would not show any more included. */
  get count() {
    return this.#rows.size + this.#more;
  }

  /** Those that wait, oldest first; none waits afterwards. */
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
