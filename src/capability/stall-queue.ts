/** Where invokers wait for an object: until it is fetched, unpinned, or served. First come, first served. */
export class StallQueue {
  #waiting: { resolve: () => void; reject: (error: Error) => void }[] = [];

  get length(): number {
    return this.#waiting.length;
  }

  wait(): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
    });
  }

  wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const one of waiting) one.resolve();
  }

  fail(error: Error): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const one of waiting) one.reject(error);
  }
}
