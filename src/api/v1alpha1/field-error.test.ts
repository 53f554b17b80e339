import { expect, it } from 'vitest';
import { fieldPath, formatFieldError } from './field-error.ts';

it('writes paths as kubectl does', () => {
  expect(fieldPath('spec', 'services', 'web', 'ports', 0)).toBe('spec.services.web.ports[0]');
  expect(fieldPath('spec', 'labels', 'a.b/c')).toBe('spec.labels[a.b/c]');
  expect(fieldPath()).toBe('');
});

it('quotes long values in part', () => {
  const line = formatFieldError({
    path: 'a',
    value: 'x'.repeat(1000),
    message: 'short',
    severity: 'error',
  });
  expect(line.length).toBeLessThan(120);
  expect(line).toMatch(/^a: "x+…: short$/);
});
