import { describe, expect, it } from 'vitest';
import { isImageReference } from './image-reference.ts';

describe('isImageReference', () => {
  it.each([
    'redis',
    'redis:7',
    'library/redis:7.2-alpine',
    'localhost:5000/a/b__c/d-e.f:v1',
    'registry.example.com:5000/team/app:1.4.2',
    `app@sha256:${'a'.repeat(64)}`,
    `app:1@sha256:${'a'.repeat(64)}`,
  ])('takes %s', (text) => {
    expect(isImageReference(text)).toBe(true);
  });

  it.each([
    '',
    ' redis',
    'Redis',
    'redis:',
    'redis:7:8',
    'https://example.com/redis',
    '/redis',
    'redis/',
    'a//b',
    '-a',
    'app@sha256:abc',
    'app@',
    `a/${'b'.repeat(300)}`,
  ])('refuses %s', (text) => {
    expect(isImageReference(text)).toBe(false);
  });

  // An expression that goes back and forth over this would not end within the time limit of the test.
  it('answers hostile text', () => {
    expect(isImageReference(`${'a-'.repeat(255)}!`)).toBe(false);
    expect(isImageReference(`${'a'.repeat(511)}!`)).toBe(false);
    expect(isImageReference('a'.repeat(1_000_000))).toBe(false);
  });
});
