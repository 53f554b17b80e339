import type { Project } from './project.ts';

/** The example of the documentation, as a user writes it: for tests. */
export const guestbook: Project = {
  apiVersion: 'nap.dev/v1alpha1',
  kind: 'Project',
  metadata: { name: 'guestbook', namespace: 'default' },
  spec: {
    services: {
      web: {
        image: 'guestbook:3',
        replicas: 3,
        ports: ['80:80'],
        links: ['redis-master', 'redis-slave:replica'],
        environment: { WORKERS: 4, LOG_LEVEL: 'debug' },
        resources: {
          reservations: { cpus: '0.25', memory: '64M' },
          limits: { cpus: 1, memory: '256M', pids: 200 },
        },
        placement: { strategy: 'spread', machineMetadata: { region: 'us-east-1' } },
      },
      'redis-master': { image: 'redis:7', ports: ['6379'], volumes: ['data:/data'] },
      'redis-slave': {
        image: 'redis:7',
        replicas: 2,
        command: ['redis-server', '--replicaof', 'redis-master', '6379'],
        stopGracePeriod: '1m30s',
      },
    },
  },
};
