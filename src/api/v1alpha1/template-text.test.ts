import { describe, expect, it } from 'vitest';
import { parseTemplate, renderTemplate, TemplateError } from './template-text.ts';

const breathe = () => new Promise<void>((resolve) => setImmediate(resolve));
const render = async (text: string, data: object = {}) =>
  renderTemplate(parseTemplate(text), data, breathe);
const instances = (count: number) =>
  Array.from({ length: count }, (_, i) => ({
    name: `shop-web-${i + 1}`,
    address: `10.1.${i >> 8}.${i & 255}`,
    port: 80,
  }));

describe('a template', () => {
  it.each([
    [
      '{% for i in s.instances %}{{ i.address }}{% unless forloop.last %},{% endunless %}{% endfor %}',
      '10.1.0.0,10.1.0.1',
    ],
    ['{{ s.instances | map: "name" | join: " " }}', 'shop-web-1 shop-web-2'],
    ['{% if s.instances.size > 1 %}many{% else %}few{% endif %}', 'many'],
    ['{{ s.instances[0].port | plus: 1 }}', '81'],
    ['{% assign x = "a" | append: "b" %}{{ x | upcase }}', 'AB'],
    ['{{ redis-master.name }}', 'm'],
  ])('%s', async (text, expected) => {
    expect(
      await render(text, { s: { instances: instances(2) }, 'redis-master': { name: 'm' } }),
    ).toBe(expected);
  });

  it('renders 10,000 instances, and lets others have their turn', async () => {
    const text =
      '{% for i in s.instances %}server {{ i.address }}:{{ i.port }}; # {{ i.name }}\n{% endfor %}';
    let turns = 0;
    const timer = setInterval(() => turns++, 0);
    const lines = (await render(text, { s: { instances: instances(10_000) } })).split('\n');
    clearInterval(timer);
    expect(lines).toHaveLength(10_001);
    expect(turns).toBeGreaterThan(3);
  });

  it.each([
    ['{% include "/etc/passwd" %}', /include/],
    ['{% render "x" %}', /render/],
    ['{% layout "x" %}', /layout/],
    ['{% capture x %}{% endcapture %}', /capture/],
    ['{{ "now" | date: "%s" }}', /date/],
    ['{{ "x" | nothing }}', /nothing/],
    ['{% for %}', /for/],
    ['{% if a %}', /if/],
    [`{{ "${'x'.repeat(70_000)}" }}`, /parse length limit/],
    ['{% if true %}'.repeat(5000), /./],
  ])('%.30s cannot be read', async (text, why) => {
    await expect(render(text)).rejects.toThrow(TemplateError);
    await expect(render(text)).rejects.toThrow(why);
  });

  it.each([
    ['{{ absent }}', /undefined variable/],
    ['{{ s.constructor }}', /undefined variable/],
    ['{{ s.__proto__.x }}', /undefined variable/],
    ['{% for a in (1..1000000000) %}{% endfor %}', /memory/],
    ['{% for a in (1..100000) %}{% for b in (1..1000) %}{% endfor %}{% endfor %}', /memory|steps/],
    ['{% for a in s.i %}{% for b in s.i %}{{ a }}{% endfor %}{% endfor %}', /steps|bytes/],
    [
      '{% assign x = "xxxxxxxxxx" %}{% for i in (1..60) %}{% assign x = x | append: x %}{% endfor %}{{ x }}',
      /memory/,
    ],
    ['{% for a in (1..300000) %}xxxxxxxxxx{% endfor %}', /bytes/],
  ])('%.60s cannot be rendered', async (text, why) => {
    const data = { s: { i: instances(5000).map(({ name }) => name) } };
    await expect(render(text, data)).rejects.toThrow(why);
  });
});
