import Docker from 'dockerode';

/** A Docker engine without anything in between: what it can do at most. */
export class RawEngine {
  readonly #docker: Docker;
  readonly #label = 'nap-bench-raw';

  constructor(socketPath: string) {
    this.#docker = new Docker({ socketPath });
  }

  /** Creates and starts `count` idle containers on `network`, `concurrency` at a time. */
  async run(image: string, count: number, concurrency: number, network: string): Promise<void> {
    let left = count;
    const worker = async (): Promise<void> => {
      while (left > 0) {
        left--;
        const container = await this.#docker.createContainer({
          Image: image,
          Cmd: ['sleep', '1000000'],
          Labels: { [this.#label]: '' },
          HostConfig: { NetworkMode: network, RestartPolicy: { Name: 'always' } },
        });
        await container.start();
      }
    };
    await Promise.all(Array.from({ length: concurrency }, worker));
  }

  /** Removes what `run` has made. */
  async clear(): Promise<void> {
    const containers = await this.#docker.listContainers({
      all: true,
      filters: { label: [this.#label] },
    });
    await Promise.all(
      containers.map(({ Id }) => this.#docker.getContainer(Id).remove({ force: true })),
    );
  }
}
