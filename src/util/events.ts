/**
 * Typed events of one component. Lower rooms raise them; whoever is above (findings, statistics, the live view) listens.
 * Listeners run synchronously, in the order of their registration.
 */
export class EventSource<Events extends object> {
  readonly #listeners = new Map<keyof Events, ((event: never) => void)[]>();

  /** @returns a function that removes the listener */
  on<Kind extends keyof Events>(kind: Kind, listener: (event: Events[Kind]) => void): () => void {
    const list = this.#listeners.get(kind) ?? [];
    list.push(listener as (event: never) => void);
    this.#listeners.set(kind, list);
    return () => {
      const at = list.indexOf(listener as (event: never) => void);
      if (at >= 0) list.splice(at, 1);
    };
  }

  emit<Kind extends keyof Events>(kind: Kind, event: Events[Kind]): void {
    const list = this.#listeners.get(kind);
    if (list === undefined) return;
    for (const listener of [...list]) (listener as (event: Events[Kind]) => void)(event);
  }
}
