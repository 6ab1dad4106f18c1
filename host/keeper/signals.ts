/** SIGTERM and SIGINT as a promise: they may come at any time, from the first moment on. */
export class StopSignal {
  readonly requested: Promise<void>;
  private set = false;
  private readonly handler: () => void;

  constructor() {
    let resolve: () => void = () => {};
    this.requested = new Promise((done) => {
      resolve = done;
    });
    this.handler = () => {
      this.set = true;
      resolve();
    };
    process.on("SIGTERM", this.handler);
    process.on("SIGINT", this.handler);
  }

  get isSet(): boolean {
    return this.set;
  }

  close(): void {
    process.off("SIGTERM", this.handler);
    process.off("SIGINT", this.handler);
  }
}
