import { describe, expect, test } from 'vitest';
import { run } from '../support/command.ts';
import {
  box,
  cleansUp,
  containerOf,
  containers,
  eventually,
  holds,
  hosts,
  instances,
  kubectl,
  project,
  settles,
} from './harness.ts';

const upstreams = `upstream backends {
{%- for i in services.apache.instances %}
  server {{ i.address }}:{{ i.port }};
{%- endfor %}
}
`;
const nginxConf = `user nobody nogroup;
worker_processes 1;
error_log /dev/stderr notice;
pid /run/nginx.pid;
events {}
http {
  access_log off;
  client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fcgi;
  uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;
  include /shared/conf/upstreams.conf;
  server {
    listen 80;
    location / { proxy_pass http://backends; proxy_next_upstream off; }
  }
}
`;

/** Three web servers that never share a host, and a proxy that reads who they are from a volume. */
function scene(replicas: number, text = upstreams) {
  return {
    apache: {
      command: [
        'sh',
        '-c',
        'mkdir /www && hostname > /www/index.html && exec httpd -f -p 8000 -h /www',
      ],
      replicas,
      ports: ['8000'],
      placement: { conflicts: ['apache'] },
      healthCheck: { http: { port: 8000, path: '/' }, interval: '500ms' },
    },
    // Renders into the volume, and tells another service.
    data: {
      volumes: ['shared:/data'],
      command: ['sleep', '1000000'],
      templates: [
        {
          content:
            'backends: {% for i in services.b.instances %}{{ i.name }}@{{ i.host }} {% endfor %}\n',
          target: '/data/list',
          watch: ['apache:b'],
          waitFor: replicas,
          reload: { signal: 'SIGHUP', service: 'reader' },
          mode: '0640',
          gid: 1000,
        },
      ],
    },
    reader: {
      volumesFrom: ['data:ro'],
      command: [
        'sh',
        '-c',
        'trap "cat /data/list >> /seen" HUP; while :; do sleep 60 & wait $!; done',
      ],
    },
    nginx: {
      image: 'nap-demo/nginx:1',
      stopSignal: 'SIGQUIT',
      ports: ['80'],
      volumes: ['proxy:/shared'],
      configs: [{ content: nginxConf, target: '/etc/nginx/nginx.conf' }],
      command: ['nginx', '-c', '/etc/nginx/nginx.conf', '-g', 'daemon off;'],
      templates: [
        {
          content: text,
          target: '/shared/conf/upstreams.conf',
          watch: ['apache'],
          waitFor: 1,
          check: ['nginx', '-t', '-c', '/etc/nginx/nginx.conf'],
          reload: { signal: 'SIGHUP' },
        },
      ],
    },
  };
}

/** Who answers through the proxy, of a few requests. */
async function answers(): Promise<string[]> {
  const [nginx] = await instances('tpl-nginx');
  const { host, id } = await containerOf('tpl', 'nginx');
  const seen = new Set<string>();
  for (let i = 0; i < 9; i++) {
    const outcome = await box.inNetworkOf({ host, id }, [
      ...['curl', '-sf', '--max-time', '5', `http://${nginx?.ip ?? ''}/`],
    ]);
    expect(outcome.code, outcome.stderr).toBe(0);
    seen.add(outcome.stdout.trim());
  }
  return [...seen].sort();
}

const inside = async (service: string, ...command: string[]): Promise<string> => {
  const { host, id } = await containerOf('tpl', service);
  return box.docker(host, 'exec', id, ...command);
};

describe('templates', () => {
  cleansUp('tpl');

  test('let a proxy follow its backends, without a restart of it', async () => {
    await kubectl.apply(project('tpl', scene(3)));
    await kubectl.wait('project/tpl');
    // It starts when the first one is ready, and is told of the others when it has run for a second.
    await settles('all are asked', async () => {
      expect(await answers()).toEqual(['tpl-apache-1', 'tpl-apache-2', 'tpl-apache-3']);
    });
    const proxy = await containerOf('tpl', 'nginx');
    await kubectl.run('scale', 'napsvc/tpl-apache', '--replicas=1');
    await settles('only the first one is asked', async () => {
      expect(await answers()).toEqual(['tpl-apache-1']);
      expect(await containers('tpl', { service: 'apache' })).toHaveLength(1);
    });
    await kubectl.apply(project('tpl', scene(2)));
    await settles('the new one is asked, too', async () => {
      expect(await answers()).toEqual(['tpl-apache-1', 'tpl-apache-2']);
    });
    expect((await containerOf('tpl', 'nginx')).id).toBe(proxy.id);
    expect((await instances('tpl-nginx'))[0]).toMatchObject({ ready: true, restarts: 0 });
  });

  test('are for another service to read from a volume, and it is told', async () => {
    await settles('the reader has seen both backends', async () => {
      expect(await inside('reader', 'tail', '-n1', '/seen')).toMatch(
        /^backends: tpl-apache-1@h\d tpl-apache-2@h\d \n$/,
      );
    });
    expect(await inside('reader', 'stat', '-c', '%a %u %g', '/data/list')).toBe('640 0 1000\n');
  });

  test('that a check refuses change nothing, and it is said why', async () => {
    const proxy = await containerOf('tpl', 'nginx');
    const before = await inside('nginx', 'cat', '/shared/conf/upstreams.conf');
    await kubectl.apply(project('tpl', scene(2, upstreams.replace('upstream', 'downstream'))));
    const told = await eventually('the status says so', async () => {
      const [nginx] = await instances('tpl-nginx');
      return nginx?.reason === 'TemplateCheckFailed' && nginx;
    });
    expect(told).toMatchObject({ phase: 'Running', ready: true });
    expect(told.message).toMatch(/nginx -t .*exit code 1.*unknown directive "downstream"/);
    await settles('an Event says so', async () => {
      const events = await kubectl.run(
        'get',
        'events',
        '--field-selector',
        'reason=TemplateCheckFailed',
      );
      expect(events).toContain('unknown directive');
    });
    await holds(async () => {
      expect(await answers()).toEqual(['tpl-apache-1', 'tpl-apache-2']);
    }, 1000);
    expect(await inside('nginx', 'cat', '/shared/conf/upstreams.conf')).toBe(before);
    await kubectl.apply(project('tpl', scene(2)));
    await settles('all is well again', async () => {
      expect((await instances('tpl-nginx'))[0]?.reason).toBeUndefined();
    });
    expect((await containerOf('tpl', 'nginx')).id).toBe(proxy.id);
    await settles('no container of a check is left behind', async () => {
      for (const host of hosts) {
        expect(await box.docker(host, 'ps', '-aq', '--filter', 'label=nap.dev/once')).toBe('');
      }
    });
  });

  test('never follow a link that a container has put in their way', async () => {
    const { host } = await containerOf('tpl', 'data');
    const outside = `/tmp/nap-outside-${process.pid}`;
    await run(['rm', '-rf', outside]);
    await inside('data', 'sh', '-c', `rm /data/list && ln -s ${outside} /data/list`);
    await kubectl.apply(project('tpl', scene(3)));
    await settles('the link is replaced by the file', async () => {
      expect(await inside('data', 'sh', '-c', 'test ! -L /data/list && cat /data/list')).toContain(
        'tpl-apache-3',
      );
    });
    expect((await run(['test', '-e', outside])).code, `on ${host}`).toBe(1);
  });
});
